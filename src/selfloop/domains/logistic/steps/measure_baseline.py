"""Rule measure_baseline: the share of labels 1 in the train split, whatever the inputs."""

from pathlib import Path

import numpy as np

from selfloop.data.measurements import write_measurements
from selfloop.domains.logistic.model import measured
from selfloop.domains.logistic.rows import read_rows
from selfloop.jobs.job import Job, StepParams


def run(job: Job[StepParams]) -> None:
    """Its log-loss on the test split."""
    (_, labels), (X, y) = (read_rows(Path(job.input[split])) for split in ("train", "test"))
    share = np.clip(labels.mean(), 0.5 / len(labels), 1 - 0.5 / len(labels))
    w = np.r_[np.zeros(X.shape[1]), np.log(share / (1 - share))]
    write_measurements(job, {"test-baseline": {"log_loss": float(measured(w, X, y)["log_loss"])}})
