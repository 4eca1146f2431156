"""Rule prepare_data: the real words or categories, one per row."""

from pathlib import Path

from selfloop.data.shards import no_validation
from selfloop.domains.discrete.config import Data
from selfloop.domains.discrete.rows import SCHEMA, real_words, write_words
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    data: Data


def run(job: Job[Params]) -> None:
    """Write the splits of what `job.params.data` describes."""
    train, test, reserve = real_words(job.params.data)
    write_words(Path(job.output["train"]), train)
    write_words(Path(job.output["test"]), test)
    no_validation(Path(job.output["validation"]), SCHEMA)
    if "reserve" in job.output:
        write_words(Path(job.output["reserve"]), reserve, first=len(train))
    job.log.info("%d rows, %d rows to test on", len(train), len(test))
