"""Rule evaluate_model: the negative log-likelihood of the test rows, and the density's variance."""

from pathlib import Path

from selfloop.data.measurements import write_measurements
from selfloop.domains.kde.model import load_checkpoint, variance
from selfloop.domains.vectors import read_rows
from selfloop.jobs.job import Job, StepParams


def run(job: Job[StepParams]) -> None:
    """Measure the model against the test split; the variance is that per coordinate, kernel included."""
    model, test = load_checkpoint(Path(job.input["checkpoint"])), read_rows(Path(job.input["test"]))
    values = {
        "negative_log_likelihood": -float(model.log_density(test).mean()),
        "variance": float(variance(model.points, model.weights)) + model.bandwidth**2,
    }
    write_measurements(job, {"test": values})
