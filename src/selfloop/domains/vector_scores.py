"""The rule score of the domains whose rows are points."""

from collections.abc import Callable
from pathlib import Path

from selfloop.domains.vectors import Array, ball_scores, read_rows
from selfloop.jobs.job import Job
from selfloop.scoring.detector import of_points
from selfloop.scoring.scores import ScoreParams, score_part


def score_points(job: Job[ScoreParams], log_density: Callable[[Path, Array], Array]) -> None:
    """Write the scores of a part's rows: how far each is from what a verifier believes, or what all domains have.

    Args:
        job: of the rule.
        log_density: of rows (rows, d) under the model of a checkpoint, (rows,), up to a constant.
    """

    def own() -> Array:
        X, scorer = read_rows(Path(job.input["part"])), job.params.scorer
        if scorer.by == "distance":
            return ball_scores(X, scorer.center, scorer.radius)
        return log_density(Path(job.input["checkpoint"]), X)

    score_part(job, lambda folder: of_points(read_rows(folder)), own)
