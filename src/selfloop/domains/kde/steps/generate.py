"""Rule generate: sample one part, as many rows as the real train split has."""

from pathlib import Path

import numpy as np

from selfloop.data.shards import count_rows
from selfloop.domains.kde.model import load_checkpoint
from selfloop.domains.vectors import write_rows
from selfloop.identity import stream
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    streams: str
    iteration: int
    part: int


def run(job: Job[Params]) -> None:
    """Write rows of the model's density."""
    rows = count_rows(Path(job.input["real"]))
    generator = np.random.default_rng(stream(job.params.streams, "rows"))
    X = load_checkpoint(Path(job.input["checkpoint"])).sample(generator, rows)
    write_rows(Path(job.output["part"]), X, job.params.iteration, job.params.part)
    job.did(rows, "rows")
    job.log.info("%d rows sampled", rows)
