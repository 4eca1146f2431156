"""Rule generate: sample one part, new labels for the same inputs."""

from pathlib import Path

import numpy as np

from selfloop.domains.logistic.model import load_checkpoint
from selfloop.domains.logistic.rows import probabilities, read_rows, write_rows
from selfloop.identity import stream
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    streams: str
    iteration: int
    part: int


def run(job: Job[Params]) -> None:
    """Write a label per real input, drawn by the model's probability."""
    X, _ = read_rows(Path(job.input["real"]))
    chances = probabilities(X, load_checkpoint(Path(job.input["checkpoint"])))
    y = np.random.default_rng(stream(job.params.streams, "labels")).random(len(X)) < chances
    write_rows(Path(job.output["part"]), X, y.astype(np.float64), job.params.iteration, job.params.part)
    job.did(len(X), "labels")
    job.log.info("%d labels sampled", len(X))
