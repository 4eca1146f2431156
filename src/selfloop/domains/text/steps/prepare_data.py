"""Rule prepare_data: the real documents, as Parquet, in a train and a test split."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from selfloop.data.atomic import atomic_folder
from selfloop.data.contents import unchanged
from selfloop.data.shards import ShardWriter, no_validation
from selfloop.domains.text.config import Data
from selfloop.domains.text.data import reading, sources
from selfloop.jobs.job import Job, StepParams

SCHEMA = pa.schema([("text", pa.string())])
PROMPTED = pa.schema([*SCHEMA, ("prompt", pa.string())])


class Params(StepParams):
    """What the step takes of its params."""

    data: Data
    contents: str | None = None


def run(job: Job[Params]) -> None:
    """Read the source that `job.params.data` names, and write the splits."""
    with unchanged(job.params.contents, lambda: sources.input_files(job.params.data)):
        train, test, reserve = sources.documents(job.params.data, job.log.info)
        schema = SCHEMA if job.params.data.prompt_column is None else PROMPTED
        _write(train, Path(job.output["train"]), schema)
        _write(test, Path(job.output["test"]), schema)
        if "reserve" in job.output:
            _write(reserve, Path(job.output["reserve"]), schema)
        no_validation(Path(job.output["validation"]), SCHEMA)


def _write(texts: Iterable[str], folder: Path, schema: pa.Schema) -> None:
    with atomic_folder(folder) as scratch, ShardWriter(scratch, schema) as writer:
        for document in texts:
            prompt, _, text = document.rpartition(reading.PROMPT_END)
            writer.append({"text": text, "prompt": prompt} if schema is PROMPTED else {"text": text})
