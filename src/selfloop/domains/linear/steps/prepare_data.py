"""Rule prepare_data: the real rows x ~ N(0, Σ), y = x·w*, a reserve of more, and a test split that measures exactly.

The rows are drawn once for all iterations, regimes and seeds, like X in Theorem 1. Their labels have no noise yet: each
chain adds its own, by its seed, where it trains on them (`sources.real_noise`).

A test error on sampled rows would have sampling error, and Σ is known. So the test split holds d noiseless rows √d·L_k,
L_k the columns of the Cholesky factor of Σ = LLᵀ: their mean of xxᵀ is Σ itself, and the mean squared error on them is
‖ŵ - w*‖²_Σ (eq. 1).
"""

from pathlib import Path

import numpy as np

from selfloop.data.shards import no_validation
from selfloop.domains.linear.config import Data
from selfloop.domains.linear.data.rows import SCHEMA, write_rows
from selfloop.domains.linear.data.sources import factor, reserved, target
from selfloop.identity import digest, stream
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    data: Data


def run(job: Job[Params]) -> None:
    """Draw what `job.params.data` describes, and write the splits."""
    data = job.params.data
    d, T, L, w = data.dimension, data.rows, factor(data), target(data)
    identity = digest(data.without("reserve").plain)
    X = np.random.default_rng(stream(identity, "inputs")).standard_normal((T, d)) @ L.T
    write_rows(Path(job.output["train"]), X, w, np.zeros(T))
    write_rows(Path(job.output["test"]), d**0.5 * L.T, w, np.zeros(d))
    no_validation(Path(job.output["validation"]), SCHEMA)
    if "reserve" in job.output:
        count = reserved(data)
        X = np.random.default_rng(stream(identity, "reserve inputs")).standard_normal((count, d)) @ L.T
        write_rows(Path(job.output["reserve"]), X, w, np.zeros(count), first=T)
    job.log.info("%d rows in %d dimensions", T, d)
