"""Rule score: how far each row is from what a verifier believes, and what all domains have."""

from selfloop.domains.kde.model import load_checkpoint
from selfloop.domains.vector_scores import score_points
from selfloop.jobs.job import Job
from selfloop.scoring.scores import ScoreParams as Params


def run(job: Job[Params]) -> None:
    """Write the scores of all rows."""
    score_points(job, lambda checkpoint, X: load_checkpoint(checkpoint).log_density(X))
