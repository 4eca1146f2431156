"""Rule measure_baseline: a mean that has seen a single real row."""

from pathlib import Path

import numpy as np

from selfloop.data.measurements import write_measurements
from selfloop.domains.gaussian.model import fit, whitening
from selfloop.domains.vectors import read_rows
from selfloop.jobs.job import Job, StepParams


def run(job: Job[StepParams]) -> None:
    """Mean over the train rows of their squared error as a mean, about 1 real variance."""
    train, test = (read_rows(Path(job.input[split])) for split in ("train", "test"))
    real, _ = fit([(test, np.ones(len(test)))])
    mean, W = whitening(real)
    write_measurements(job, {"test-baseline": {"mean_error": float(np.mean(((train - mean) @ W) ** 2))}})
