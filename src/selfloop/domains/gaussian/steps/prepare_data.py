"""Rule prepare_data: the real rows, drawn from N(0, I) or packaged."""

from selfloop.domains.gaussian.config import Data
from selfloop.domains.gaussian.rows import real_rows
from selfloop.domains.vectors import write_splits
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    data: Data


def run(job: Job[Params]) -> None:
    """Write the splits of what `job.params.data` describes."""
    write_splits(job, *real_rows(job.params.data))
