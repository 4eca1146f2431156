"""Rule measure_baseline: one normal distribution, with the train rows' mean and variance."""

from pathlib import Path

import numpy as np

from selfloop.data.measurements import write_measurements
from selfloop.domains.kde.model import Model, variance
from selfloop.domains.vectors import Array, read_rows
from selfloop.jobs.job import Job, StepParams


def untrained(train: Array, test: Array) -> float:
    """The negative log-likelihood of test rows (rows, d) under a round normal distribution, in nats per row."""
    model = Model(train.mean(axis=0)[None], np.ones(1), float(variance(train)) ** 0.5)
    return -float(model.log_density(test).mean())


def run(job: Job[StepParams]) -> None:
    """Its negative log-likelihood on the test split."""
    train, test = (read_rows(Path(job.input[split])) for split in ("train", "test"))
    write_measurements(job, {"test-baseline": {"negative_log_likelihood": untrained(train, test)}})
