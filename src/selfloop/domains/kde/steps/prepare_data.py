"""Rule prepare_data: the real points."""

from pathlib import Path

from selfloop.data.shards import no_validation
from selfloop.domains.kde.config import Data
from selfloop.domains.kde.rows import SCHEMA, real_rows, write_rows
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    data: Data


def run(job: Job[Params]) -> None:
    """Write the splits of what `job.params.data` describes."""
    train, test, reserve = real_rows(job.params.data)
    write_rows(Path(job.output["train"]), train)
    write_rows(Path(job.output["test"]), test)
    no_validation(Path(job.output["validation"]), SCHEMA)
    if "reserve" in job.output:
        write_rows(Path(job.output["reserve"]), reserve, first=len(train))
    job.log.info("%d rows in %d dimensions, %d rows to test on", *train.shape, len(test))
