"""Rule score: how likely each label is to a verifier, and what all domains have."""

from pathlib import Path

import numpy as np

from selfloop.config.section import given
from selfloop.domains.logistic.model import load_checkpoint
from selfloop.domains.logistic.rows import Array, probabilities, read_rows
from selfloop.jobs.job import Job
from selfloop.scoring.detector import of_points
from selfloop.scoring.scores import ScoreParams as Params
from selfloop.scoring.scores import score_part


def run(job: Job[Params]) -> None:
    """Write the scores of all rows."""
    score_part(job, _features, lambda: _own(job))


def _own(job: Job[Params]) -> Array:
    """-|y - p(x)|, with the probability of label 1 by the parameters that the verifier believes in.

    Of an oracle, the logarithm of the label's probability by the referee.
    """
    X, y = read_rows(Path(job.input["part"]))
    if job.params.scorer.by == "oracle":
        w = load_checkpoint(Path(job.input["checkpoint"]))
        return np.asarray(-np.logaddexp(0, np.where(y == 1, -1, 1) * (X @ w[:-1] + w[-1])))
    return -np.abs(y - probabilities(X, np.array(given(job.params.scorer.center))))


def _features(folder: Path) -> Array:
    return of_points(np.column_stack(read_rows(folder)))
