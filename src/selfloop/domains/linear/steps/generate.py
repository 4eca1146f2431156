"""Rule generate: sample one part, new labels for the same X."""

from pathlib import Path

import numpy as np

from selfloop.domains.linear.config import Data
from selfloop.domains.linear.data.rows import read_rows, write_rows
from selfloop.domains.linear.model.checkpoint import load_checkpoint
from selfloop.identity import stream
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    data: Data
    streams: str
    iteration: int
    part: int


def run(job: Job[Params]) -> None:
    """Write y = Xŵ + noise for the real X; parts of one model differ in the noise alone."""
    X, _, _ = read_rows(Path(job.input["real"]))
    w = load_checkpoint(Path(job.input["checkpoint"]))
    generator = np.random.default_rng(stream(job.params.streams, "noise"))
    noise = generator.normal(scale=job.params.data.noise_variance**0.5, size=len(X))
    write_rows(Path(job.output["part"]), X, w, noise, job.params.iteration, job.params.part)
    job.did(len(X), "labels")
    job.log.info("%d labels sampled", len(X))
