"""Rule simulate_chains: all seeds and iterations of one setting under one regime, without files between."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from selfloop.domains.gaussian.config import Chains
from selfloop.domains.gaussian.laws import expected
from selfloop.domains.gaussian.model import fit, whitening
from selfloop.domains.gaussian.rows import real_rows
from selfloop.domains.gaussian.simulate import ByMoments, ByRows, by_rows, lanes
from selfloop.domains.vectors import Array
from selfloop.identity import digest
from selfloop.jobs.job import Job, StepParams
from selfloop.simulation import rows, stacked
from selfloop.simulation.tidy import tidy_rows, write
from selfloop.training.malloc import keep_freed_memory


class Params(StepParams):
    """What the step takes of its params."""

    simulation: Chains


def run(job: Job[Params]) -> None:
    """Simulate the seeds 0 to `seeds` - 1 and write them, with the law where there is one."""
    keep_freed_memory()  # every block of seeds allocates the same arrays
    chains = job.params.simulation
    real, untrained = given_rows(chains)
    measured = simulate(chains, real)
    first = None if real is None else {name: float(values[0, 0]) for name, values in measured.items()}
    names = {"model": chains.label, "regime": chains.regime, "sampling": chains.sampling}
    law = expected(chains, chains.sets, first)
    write(tidy_rows(names, measured, law, {"mean_error": untrained}), Path(job.output["measurements"]))
    job.log.info("%s, %s: %d seeds", chains.label, chains.regime, chains.seeds)


def simulate(chains: Chains, real: Array | None = None) -> dict[str, Array]:
    """By metric, (seeds, iterations); `real` are the rows that all seeds begin with, if they are given."""
    sets = chains.sets
    rowwise = by_rows(sets)
    width = rows.lanes(chains.rows, chains.dimension, len(sets)) if rowwise else lanes(chains)
    layout = rows.layout(sets, chains.rows) if rowwise else None
    identity = digest([chains.dimension, chains.rows, chains.covariance, chains.temperature, rowwise, real is None])

    def run_block(streams: stacked.Streams, seeds: int) -> Mapping[str, Array]:
        if layout is not None:
            return rows.run(ByRows(chains, seeds, real), layout, streams, seeds)
        return stacked.run(ByMoments(chains, seeds, real), sets, chains.rows, streams, seeds)

    return stacked.blocks(run_block, identity, chains.seeds, width)


def given_rows(chains: Chains) -> tuple[Array | None, float]:
    """Packaged rows in units in which the test rows have mean 0 and covariance I, and the baseline's error."""
    if chains.data is None:
        return None, 1.0
    train, test, _ = real_rows(chains.data)
    mean, W = whitening(fit([(test, np.ones(len(test)))])[0])
    whitened = (train - mean) @ W
    return whitened, float(np.mean(whitened**2))
