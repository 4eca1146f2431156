"""Rule measure_baseline: the test cross-entropy of the unigram distribution of the real train split."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from selfloop.data.measurements import write_measurements
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.data.token_store import COLUMNS
from selfloop.jobs.job import Job, StepParams


class Seen(BaseModel):
    """Where documents are cut, and how many tokens there are."""

    context: int
    vocabulary: int | None  # None: as many as occur


class Params(StepParams):
    """What the step takes of its params."""

    model: Seen


def run(job: Job[Params]) -> None:
    """Documents are cut at the context and begin-of-text is not predicted, as for a model."""
    context, vocabulary = job.params.model.context, job.params.model.vocabulary
    train, test = (counts(Path(job.input[split]), context, vocabulary or 0) for split in ("train", "test"))
    most = max(len(train), len(test))
    train, test = (np.pad(each, (0, most - len(each))) for each in (train, test))
    # One more of each: a token that the train split lacks has a finite loss.
    logs = np.log((train + 1) / (train + 1).sum())
    baseline = {"cross_entropy": float(-(test * logs).sum() / test.sum())}
    write_measurements(job, {"test-baseline": baseline, "real": sizes(Path(job.input["train"]), context)})


def sizes(folder: Path, context: int) -> dict[str, float]:
    """Rows and tokens of a data set, and the tokens within the context, begin- and end-of-text included."""
    rows = tokens = kept = 0
    for batch in iterate_rows(shard_paths(folder), ["input_ids"]):
        lengths = pc.list_value_length(batch.column("input_ids")).to_numpy()
        rows += len(lengths)
        tokens += int(lengths.sum())
        kept += int(np.minimum(lengths, context).sum())
    return {"rows": rows, "tokens": tokens, "tokens_within_context": kept}


def counts(folder: Path, context: int, vocabulary: int) -> np.ndarray:
    """How often each token is predicted in a data set, int64 [vocabulary], or longer where an id is larger."""
    total = np.zeros(vocabulary, np.int64)
    for batch in iterate_rows(shard_paths(folder), COLUMNS):
        ids: pa.ListArray = batch.column("input_ids")
        offsets = ids.offsets.to_numpy()
        places = np.arange(offsets[0], offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))
        tokens = ids.flatten().to_numpy()
        given = np.ones(len(ids), np.int64)
        if "prompt_tokens" in batch.schema.names:
            given = batch.column("prompt_tokens").to_numpy()
        predicted = (places >= np.repeat(given, np.diff(offsets))) & (places < context)
        found = np.bincount(tokens[predicted], minlength=len(total))
        total = found + np.pad(total, (0, len(found) - len(total)))
    return total
