"""Rule train: logistic regression on the rows of a training set."""

from pathlib import Path

import numpy as np

from selfloop.data import training_set
from selfloop.data.atomic import atomic_folder
from selfloop.data.learning_curve import write_curve
from selfloop.domains.logistic.config import Training
from selfloop.domains.logistic.model import fit, save_checkpoint
from selfloop.domains.logistic.rows import arrays
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    training: Training


def run(job: Job[Params]) -> None:
    """Fit `job.input.training_set`; write a checkpoint and an empty learning curve."""
    folder = Path(job.input["training_set"])
    inputs, labels = zip(*map(arrays, training_set.rows(folder, ["x", "y"])), strict=True)
    X, y = np.concatenate(inputs), np.concatenate(labels)
    w = fit(X, y, training_set.weights(folder), job.params.training.tolerance)
    job.did(len(X), "rows")
    job.log.info("fitted %d parameters to %d rows", len(w), len(X))
    with atomic_folder(Path(job.output["checkpoint"])) as scratch:
        save_checkpoint(w, scratch)
    write_curve([], Path(job.output["learning_curve"]))  # last: it marks the training as finished
