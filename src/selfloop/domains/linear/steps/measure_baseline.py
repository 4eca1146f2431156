"""Rule measure_baseline: the excess risk of w = 0."""

from pathlib import Path

import numpy as np

from selfloop.data.measurements import write_measurements
from selfloop.domains.linear.data.rows import read_rows
from selfloop.jobs.job import Job, StepParams


def run(job: Job[StepParams]) -> None:
    """Mean squared label of the test split, which has no noise."""
    _, y, _ = read_rows(Path(job.input["test"]))
    write_measurements(job, {"test-baseline": {"excess_risk": float(np.mean(y**2))}})
