"""Rule generate: sample one part, as many rows as the real train split has."""

from pathlib import Path

import numpy as np

from selfloop.data.shards import count_rows
from selfloop.domains.discrete.config import Sampling
from selfloop.domains.discrete.model import load_checkpoint
from selfloop.domains.discrete.rows import shuffled, write_words
from selfloop.identity import stream
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    sampling: Sampling
    streams: str
    iteration: int
    part: int


def run(job: Job[Params]) -> None:
    """Write rows drawn by the model's probabilities."""
    model = load_checkpoint(Path(job.input["checkpoint"]))
    rows = count_rows(Path(job.input["real"]))
    generator = np.random.default_rng(stream(job.params.streams, "rows"))
    counts = generator.multinomial(rows, model.probabilities(job.params.sampling.temperature))
    words = shuffled(model.types, counts, generator)
    write_words(Path(job.output["part"]), words, job.params.iteration, job.params.part)
    job.did(rows, "rows")
    job.log.info("%d rows sampled, of %d of %d types", rows, np.count_nonzero(counts), len(model.types))
