"""Rule simulate_chains: all seeds and iterations of one setting under one regime, without files between."""

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
from selfloop.simulation import stacked
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
    width = lanes(chains, rowwise)
    identity = digest([chains.dimension, chains.rows, chains.covariance, chains.temperature, rowwise, real is None])
    blocks = []
    for block, seeds in stacked.blocks(chains.seeds, width):
        streams = stacked.Streams(identity, block)
        if rowwise:
            found = stacked.run(ByRows(chains, width, real), sets, chains.rows, streams, width)
        else:
            found = stacked.run(ByMoments(chains, width, real), sets, chains.rows, streams, width)
        blocks.append({name: values[:seeds] for name, values in found.items()})
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def given_rows(chains: Chains) -> tuple[Array | None, float]:
    """Packaged rows in units in which the test rows have mean 0 and covariance I, and the baseline's error."""
    if chains.data is None:
        return None, 1.0
    train, test, _ = real_rows(chains.data)
    mean, W = whitening(fit([(test, np.ones(len(test)))])[0])
    rows = (train - mean) @ W
    return rows, float(np.mean(rows**2))
