"""Rule train: how often each type occurs in a training set."""

from collections import Counter
from pathlib import Path

import pyarrow as pa

from selfloop.data import training_set
from selfloop.data.atomic import atomic_folder
from selfloop.data.learning_curve import write_curve
from selfloop.domains.discrete.model import model_of, save_checkpoint
from selfloop.jobs.job import Job, StepParams


def run(job: Job[StepParams]) -> None:
    """Count `job.input.training_set`; write a checkpoint and an empty learning curve."""
    folder = Path(job.input["training_set"])
    weights = training_set.weights(folder)
    counts: Counter[str] = Counter()
    rows = 0
    for batch in training_set.rows(folder, ["word"]):
        words = batch.column("word")
        own = pa.repeat(pa.scalar(1.0), len(words)) if weights is None else weights[rows : rows + len(words)]
        sums = pa.table({"word": words, "weight": own}).group_by("word").aggregate([("weight", "sum")])
        for word, total in zip(sums["word"].to_pylist(), sums["weight_sum"].to_pylist(), strict=True):
            counts[word] += total
        rows += len(words)
    job.did(rows, "rows")
    job.log.info("counted %d rows of %d types", rows, len(counts))
    with atomic_folder(Path(job.output["checkpoint"])) as scratch:
        save_checkpoint(model_of(counts), scratch)
    write_curve([], Path(job.output["learning_curve"]))  # last: it marks the training as finished
