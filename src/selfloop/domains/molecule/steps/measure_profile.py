"""Rule measure_profile: how the sampled conformations of one seed's chains differ from real ones."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from selfloop.data import profile_rows
from selfloop.data.contents import unchanged
from selfloop.data.profile_rows import rows, write_profile
from selfloop.domains.molecule.config import Data
from selfloop.domains.molecule.data import sources
from selfloop.domains.molecule.data.conformations import read_conformations
from selfloop.domains.molecule.data.held_out import held_out
from selfloop.domains.molecule.profile import Mirror, Molecules, grouped
from selfloop.jobs.job import Job


class Params(profile_rows.Params):
    """What the step takes of its params."""

    data: Data
    contents: str | None = None


def run(job: Job[Params]) -> None:
    """Compare each part with real conformations that are not trained on, and with the part before it."""
    data, trained = job.params.data, grouped(read_conformations(Path(job.input["train"])))
    with unchanged(job.params.contents, lambda: sources.input_files(data)):
        others = held_out(data, {name: of.coordinates for name, of in trained.items()})
    mirror = Mirror(trained, others)
    known = "held-out" if mirror.has_held_out else "train"
    job.log.info("%d of %d molecules, beside their %s conformations", len(mirror.real), len(trained), known)

    @lru_cache(maxsize=4)  # the part before is measured before
    def sampled(part: str) -> Molecules:
        return grouped(read_conformations(Path(part)), mirror.real)

    def measured() -> Iterator[dict[str, object]]:
        for link in job.params.links:
            found = sampled(link.part)
            for name, count in mirror.split(found)[1].items():
                job.log.info("%s: %d samples of %s (%s) fell apart", link.part, count, found[name].example.name, name)
            values = mirror.measures(found)
            if link.previous is not None:
                values |= mirror.carried(sampled(link.previous), found)
            yield from rows(link, values, mirror.itself)

    write_profile(job, measured())
