"""Rule prepare_data: the real rows, packaged or drawn."""

from pathlib import Path

from selfloop.data.shards import no_validation
from selfloop.domains.logistic.config import Data
from selfloop.domains.logistic.rows import SCHEMA, real_rows, write_rows
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    data: Data


def run(job: Job[Params]) -> None:
    """Write the splits of what `job.params.data` describes."""
    train, test, reserve = real_rows(job.params.data)
    write_rows(Path(job.output["train"]), *train)
    write_rows(Path(job.output["test"]), *test)
    if "reserve" in job.output:
        write_rows(Path(job.output["reserve"]), *reserve)
    no_validation(Path(job.output["validation"]), SCHEMA)
    job.log.info("%d rows in %d dimensions, %d rows to test on", *train[0].shape, len(test[0]))
