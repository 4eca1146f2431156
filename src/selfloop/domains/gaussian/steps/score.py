"""Rule score: how far each row is from what a verifier believes, and what all domains have."""

from pathlib import Path

import numpy as np

from selfloop.domains.gaussian.model import load_checkpoint, whitening
from selfloop.domains.vectors import Array, ball_scores, read_rows
from selfloop.jobs.job import Job
from selfloop.scoring.detector import of_points
from selfloop.scoring.scores import ScoreParams as Params
from selfloop.scoring.scores import score_part


def run(job: Job[Params]) -> None:
    """Write the scores of all rows."""
    score_part(job, lambda folder: of_points(read_rows(folder)), lambda: _own(job))


def _own(job: Job[Params]) -> Array:
    """The distance from a verifier's ball; or the logarithm of the density by a referee, up to a constant."""
    X = read_rows(Path(job.input["part"]))
    if job.params.scorer.by == "distance":
        return ball_scores(X, job.params.scorer.center, job.params.scorer.radius)
    mean, W = whitening(load_checkpoint(Path(job.input["checkpoint"])))
    return np.asarray(-0.5 * (((X - mean) @ W) ** 2).sum(axis=1))
