"""Rule score: how far each label is from what a verifier believes, and what all domains have."""

from functools import partial
from pathlib import Path

import numpy as np

from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.linear.config import Data
from selfloop.domains.linear.data.rows import noisy, read_rows, stacked
from selfloop.domains.linear.data.sources import real_noise, target
from selfloop.domains.linear.model.checkpoint import load_checkpoint
from selfloop.domains.linear.theory import Array
from selfloop.jobs.job import Job
from selfloop.scoring.detector import of_points
from selfloop.scoring.scores import ScoreParams, score_part


class Params(ScoreParams):
    """What the step takes of its params."""

    data: Data
    seed: int


def run(job: Job[Params]) -> None:
    """Write the scores of all rows."""
    score_part(job, partial(_features, params=job.params), lambda: _residuals(job))


def _residuals(job: Job[Params]) -> Array:
    """-max(0, |y - x·center| - radius·|x|): parameters within `radius` of `center` could have made such labels.

    Of an oracle, the center is what the referee has learnt.
    """
    scorer = job.params.scorer
    X, y, _ = read_rows(Path(job.input["part"]))
    if scorer.by == "oracle":
        w = load_checkpoint(Path(job.input["checkpoint"]))
    else:
        w = target(job.params.data) if scorer.center is None else np.array(scorer.center)
    away = np.abs(y - X @ w) - scorer.radius * np.linalg.norm(X, axis=1)
    return np.asarray(-np.maximum(0.0, away))


def _features(folder: Path, params: Params) -> Array:
    """Inputs and labels, real ones with the noise that the chain's models see."""
    batches = iterate_rows(shard_paths(folder), ["x", "y", "iteration", "row"])
    X, y = stacked(noisy(batch, real_noise(params.data, params.seed)) for batch in batches)
    return of_points(np.column_stack([X, y]))
