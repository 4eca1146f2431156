"""Rule measure_profile: how the sampled rows of one seed's chains differ from real ones that no chain sees."""

from collections.abc import Iterator
from pathlib import Path

from selfloop.data.profile_rows import Params, rows, write_profile
from selfloop.domains.discrete.profile import Mirror
from selfloop.domains.discrete.rows import read_counts
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Compare each part with the real test rows, and with the part before it."""
    counts = {part: read_counts(Path(part)) for part in dict.fromkeys(link.part for link in job.params.links)}
    mirror = Mirror(read_counts(Path(job.input["test"])), counts.values())
    sampled = {part: mirror.pieces(counted, part) for part, counted in counts.items()}

    def measured() -> Iterator[dict[str, object]]:
        for link in job.params.links:
            values = mirror.of(sampled[link.part])
            if link.previous is not None:
                values |= mirror.carried(sampled[link.previous], sampled[link.part])
            yield from rows(link, values, mirror.itself)

    write_profile(job, measured())
