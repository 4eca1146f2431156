"""Rule simulate_chains: all seeds and iterations of one setting under one regime, without files between."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from selfloop.domains.logistic.config import Chains
from selfloop.domains.logistic.model import measured
from selfloop.domains.logistic.rows import Array, real_rows
from selfloop.domains.logistic.simulate import Labels, LabelsByRows
from selfloop.identity import digest
from selfloop.jobs.job import Job, StepParams
from selfloop.simulation import rows, stacked
from selfloop.simulation.config import whole_parts
from selfloop.simulation.tidy import tidy_rows, write
from selfloop.training.malloc import keep_freed_memory


class Params(StepParams):
    """What the step takes of its params."""

    simulation: Chains


def run(job: Job[Params]) -> None:
    """Simulate the seeds 0 to `seeds` - 1 and write them."""
    keep_freed_memory()  # every block of seeds allocates the same arrays
    chains = job.params.simulation
    (X, labels), test, _ = real_rows(chains.data)
    share = labels.mean()
    untrained = np.r_[np.zeros(X.shape[1]), np.log(share / (1 - share))]
    names = {"model": chains.label, "regime": chains.regime, "sampling": chains.sampling}
    baseline = {"log_loss": float(measured(untrained, *test)["log_loss"])}
    write(tidy_rows(names, simulate(chains), {}, baseline), Path(job.output["measurements"]))
    job.log.info("%s, %s: %d seeds", chains.label, chains.regime, chains.seeds)


def simulate(chains: Chains) -> dict[str, Array]:
    """By metric, (seeds, iterations)."""
    train, test, _ = real_rows(chains.data)
    sets, count = chains.sets, len(train[0])
    if whole_parts(sets):

        def run_block(streams: stacked.Streams, seeds: int) -> Mapping[str, Array]:
            return stacked.run(Labels(seeds, train, test, chains.tolerance), sets, count, streams, seeds)

        return stacked.blocks(run_block, digest(chains.data.plain), chains.seeds, stacked.LANES)
    layout = rows.layout(sets, count)

    def run_rows(streams: stacked.Streams, seeds: int) -> Mapping[str, Array]:
        return rows.run(LabelsByRows(seeds, train, test, chains.tolerance), layout, streams, seeds)

    identity, width = digest([chains.data.plain, "rows"]), rows.lanes(count, 2, len(sets))
    return stacked.blocks(run_rows, identity, chains.seeds, width)
