"""Rule evaluate_model: how a model's mean and covariance differ from those of the test rows."""

from pathlib import Path

import numpy as np

from selfloop.data.measurements import write_measurements
from selfloop.domains.gaussian.model import fit, load_checkpoint, measured
from selfloop.domains.vectors import read_rows
from selfloop.jobs.job import Job, StepParams


def run(job: Job[StepParams]) -> None:
    """Measure the model against the test split."""
    test = read_rows(Path(job.input["test"]))
    real, _ = fit([(test, np.ones(len(test)))])
    write_measurements(job, {"test": measured(load_checkpoint(Path(job.input["checkpoint"])), real)})
