"""Rule evaluate_model: a model's excess risk ‖ŵ - w*‖²_Σ (eq. 1), exactly."""

from pathlib import Path

import numpy as np

from selfloop.domains.linear.checkpoint import load_checkpoint
from selfloop.domains.linear.rows import read_rows
from selfloop.job import Job
from selfloop.measurements import write_measurements


def run(job: Job) -> None:
    """The mean squared error on the test split, whose rows are noiseless and have Σ as their second moment."""
    X, y, _ = read_rows(Path(job.input["test"]))
    value = float(np.mean((X @ load_checkpoint(Path(job.input["checkpoint"])) - y) ** 2))
    job.log.info("excess risk %.6g", value)
    write_measurements(Path(job.output["measurements"]), "test", {"excess_risk": value})
