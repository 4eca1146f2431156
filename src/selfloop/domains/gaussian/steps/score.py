"""Rule score: how far each row is from what a verifier believes, and what all domains have."""

from pathlib import Path

import numpy as np

from selfloop.domains.gaussian.model import load_checkpoint, whitening
from selfloop.domains.vector_scores import score_points
from selfloop.domains.vectors import Array
from selfloop.jobs.job import Job
from selfloop.scoring.scores import ScoreParams as Params


def run(job: Job[Params]) -> None:
    """Write the scores of all rows."""
    score_points(job, _log_density)


def _log_density(checkpoint: Path, X: Array) -> Array:
    mean, W = whitening(load_checkpoint(checkpoint))
    return np.asarray(-0.5 * (((X - mean) @ W) ** 2).sum(axis=1))
