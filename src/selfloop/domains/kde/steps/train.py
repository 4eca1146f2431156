"""Rule train: the rows of a training set are the model."""

from pathlib import Path

import numpy as np

from selfloop.data import training_set
from selfloop.data.atomic import atomic_folder
from selfloop.data.learning_curve import write_curve
from selfloop.domains.kde import config
from selfloop.domains.kde.model import Model, save_checkpoint
from selfloop.domains.vectors import numbers
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    model: config.Model


def run(job: Job[Params]) -> None:
    """Keep the rows of `job.input.training_set`; write a checkpoint and an empty learning curve."""
    folder = Path(job.input["training_set"])
    points = np.concatenate(list(map(numbers, training_set.rows(folder, ["x"]))))
    weights = training_set.weights(folder)
    shares = np.full(len(points), 1 / len(points)) if weights is None else weights / weights.sum()
    job.did(len(points), "rows")
    job.log.info("kept %d rows", len(points))
    with atomic_folder(Path(job.output["checkpoint"])) as scratch:
        save_checkpoint(Model(points, shares, job.params.model.bandwidth), scratch)
    write_curve([], Path(job.output["learning_curve"]))  # last: it marks the training as finished
