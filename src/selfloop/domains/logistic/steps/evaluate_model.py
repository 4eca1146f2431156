"""Rule evaluate_model: a model's log-loss and accuracy on the test split."""

from pathlib import Path

from selfloop.data.measurements import write_measurements
from selfloop.domains.logistic.model import load_checkpoint, measured
from selfloop.domains.logistic.rows import read_rows
from selfloop.jobs.job import Job, StepParams


def run(job: Job[StepParams]) -> None:
    """Measure the model against the test split."""
    found = measured(load_checkpoint(Path(job.input["checkpoint"])), *read_rows(Path(job.input["test"])))
    write_measurements(job, {"test": {name: float(value) for name, value in found.items()}})
