"""Rule measure_profile: how the labels of one seed's chains differ from those of real rows that no chain sees."""

from collections.abc import Iterator
from pathlib import Path

from selfloop.data.profile_rows import Link, Params, kept, rows, write_profile
from selfloop.domains.logistic.model import load_checkpoint
from selfloop.domains.logistic.profile import Mirror
from selfloop.domains.logistic.rows import Array, read_rows
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Measure the model that sampled each part on the test rows, and compare its error with that of the one before."""
    mirror = Mirror(*read_rows(Path(job.input["test"])), load_checkpoint(Path(job.input["first"])))
    models: dict[str, Array | None] = {}

    def values(link: Link) -> Iterator[dict[str, object]]:
        checkpoint = kept(job, link)
        own = models[link.part] = None if checkpoint is None else load_checkpoint(checkpoint)
        if own is None:
            return
        found = mirror.of(own)
        before = None if link.previous is None else models[link.previous]  # the part before is measured before
        if before is not None:
            found |= mirror.carried(before, own)
        yield from rows(link, found, mirror.itself)

    write_profile(job, (row for link in job.params.links for row in values(link)))
