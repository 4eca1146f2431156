"""Rule simulate_chains: all seeds and iterations of one setting under one regime, without files between."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from selfloop.domains.discrete.config import Chains
from selfloop.domains.discrete.laws import expected, untrained
from selfloop.domains.discrete.rows import Array, Integers, counted, distribution, real_words
from selfloop.domains.discrete.simulate import NUMBERS, Counted
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
    real, probabilities, test = counts_of(chains)
    measured = simulate(chains, real, probabilities, test)
    rows = chains.rows if real is None or chains.rows is not None else int(real.sum())
    assert rows is not None
    law = expected(chains.sets, rows, test, probabilities, real, chains.temperature)
    names = {"model": chains.label, "regime": chains.regime, "sampling": chains.sampling}
    write(tidy_rows(names, measured, law, untrained()), Path(job.output["measurements"]))
    job.log.info("%s, %s: %d seeds", chains.label, chains.regime, chains.seeds)


def counts_of(chains: Chains) -> tuple[Integers | None, Array, Array]:
    """The real train rows' counts, if they are given; the real distribution; and the test rows' counts; (types,) each.

    Types that are in the test rows alone come last.
    """
    train, test, _ = real_words(chains.data)
    tested = counted(test)
    if chains.source == "categories":
        assert chains.types is not None
        counts = [tested[str(place)] for place in range(1, chains.types + 1)]
        return None, distribution(chains.types, chains.exponent), np.array(counts, dtype=np.float64)
    known = counted(train)
    words = [*known, *(word for word in tested if word not in known)]
    real = np.array([known[word] for word in words])
    return real, real / real.sum(), np.array([tested[word] for word in words], dtype=np.float64)


def simulate(chains: Chains, real: Integers | None, probabilities: Array, test: Array) -> dict[str, Array]:
    """By metric, (seeds, iterations); the arguments as `counts_of` has them."""
    rows = int(real.sum()) if real is not None else chains.rows
    assert rows is not None
    # Counts are drawn seed by seed, so that fewer seeds than a block's have the same values.
    width = max(1, min(stacked.LANES, NUMBERS // len(test), chains.seeds))
    identity, sets = digest([chains.data.plain, chains.temperature]), chains.sets

    def run_block(streams: stacked.Streams, seeds: int) -> Mapping[str, Array]:
        domain = Counted(seeds, rows, real, probabilities, test, chains.temperature)
        return stacked.run(domain, sets, rows, streams, seeds)

    return stacked.blocks(run_block, identity, chains.seeds, width)
