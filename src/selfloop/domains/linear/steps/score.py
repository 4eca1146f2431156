"""Rule score: how far each label is from what a verifier believes."""

from pathlib import Path

import numpy as np

from selfloop.data.scores import ScoreParams, write_scores
from selfloop.domains.linear.config import Data
from selfloop.domains.linear.data.rows import read_rows
from selfloop.domains.linear.data.sources import target
from selfloop.jobs.job import Job


class Params(ScoreParams):
    """What the step takes of its params."""

    data: Data


def run(job: Job[Params]) -> None:
    """Write -|y - x·center| of every row."""
    center = job.params.scorer.center
    X, y, _ = read_rows(Path(job.input["part"]))
    w = target(job.params.data) if center is None else np.array(center)
    write_scores(job, -np.abs(y - X @ w))
