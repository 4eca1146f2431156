"""Rule evaluate_model: a model's excess risk ‖ŵ - w*‖²_Σ (eq. 1), exactly."""

from pathlib import Path

import numpy as np

from selfloop.data.measurements import write_measurements
from selfloop.domains.linear.data.rows import read_rows
from selfloop.domains.linear.model.checkpoint import load_checkpoint
from selfloop.jobs.job import Job, StepParams


def run(job: Job[StepParams]) -> None:
    """Mean squared error on the test split, whose noiseless rows have Σ as their second moment."""
    X, y, _ = read_rows(Path(job.input["test"]))
    value = float(np.mean((X @ load_checkpoint(Path(job.input["checkpoint"])) - y) ** 2))
    write_measurements(job, {"test": {"excess_risk": value}})
