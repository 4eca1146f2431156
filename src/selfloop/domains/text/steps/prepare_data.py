"""Rule prepare_data: the real documents, as Parquet, in a train and a test split."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from selfloop.data.atomic import atomic_folder
from selfloop.data.contents import unchanged
from selfloop.data.shards import ShardWriter, no_validation
from selfloop.domains.text.config import Data
from selfloop.domains.text.data import sources
from selfloop.jobs.job import Job, StepParams

SCHEMA = pa.schema([("text", pa.string())])


class Params(StepParams):
    """What the step takes of its params."""

    data: Data
    contents: str | None = None


def run(job: Job[Params]) -> None:
    """Read the source that `job.params.data` names, and write the splits."""
    with unchanged(job.params.contents, lambda: sources.input_files(job.params.data)):
        train, test, reserve = sources.documents(job.params.data, job.log.info)
        _write(train, Path(job.output["train"]))
        _write(test, Path(job.output["test"]))
        if "reserve" in job.output:
            _write(reserve, Path(job.output["reserve"]))
        no_validation(Path(job.output["validation"]), SCHEMA)


def _write(texts: Iterable[str], folder: Path) -> None:
    with atomic_folder(folder) as scratch, ShardWriter(scratch, SCHEMA) as writer:
        for text in texts:
            writer.append({"text": text})
