"""Rule train: the mean and covariance of the rows of a training set."""

from pathlib import Path

from selfloop.data import training_set
from selfloop.data.atomic import atomic_folder
from selfloop.data.learning_curve import write_curve
from selfloop.domains.gaussian.config import Training
from selfloop.domains.gaussian.model import fit, save_checkpoint, weighted
from selfloop.domains.vectors import numbers
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    training: Training


def run(job: Job[Params]) -> None:
    """Fit `job.input.training_set`; write a checkpoint and an empty learning curve."""
    folder = Path(job.input["training_set"])
    batches = map(numbers, training_set.rows(folder, ["x"]))
    model, count = fit(weighted(batches, training_set.weights(folder)), job.params.training.covariance)
    job.did(count, "rows")
    job.log.info("fitted the mean and covariance of %d rows in %d dimensions", count, len(model.mean))
    with atomic_folder(Path(job.output["checkpoint"])) as scratch:
        save_checkpoint(model, scratch)
    write_curve([], Path(job.output["learning_curve"]))  # last: it marks the training as finished
