"""Rule simulate_chains: all seeds and iterations of one setting under one regime, without files between."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from selfloop.data.regimes import TrainingSet
from selfloop.domains.kde.config import Chains
from selfloop.domains.kde.model import variance
from selfloop.domains.kde.rows import real_rows
from selfloop.domains.kde.simulate import Densities
from selfloop.domains.kde.steps.measure_baseline import untrained
from selfloop.domains.vectors import Array
from selfloop.identity import digest
from selfloop.jobs.job import Job, StepParams
from selfloop.simulation import rows, stacked
from selfloop.simulation.law import Fit, has_law, law
from selfloop.simulation.tidy import tidy_rows, write
from selfloop.training.malloc import keep_freed_memory


class Params(StepParams):
    """What the step takes of its params."""

    simulation: Chains


def run(job: Job[Params]) -> None:
    """Simulate the seeds 0 to `seeds` - 1 and write them, with the law of the variance."""
    keep_freed_memory()  # every block of seeds allocates the same arrays
    chains = job.params.simulation
    train, test, _ = real_rows(chains.data)
    real = None if chains.source == "normal" else train
    names = {"model": chains.label, "regime": chains.regime, "sampling": chains.sampling}
    baseline = {"negative_log_likelihood": untrained(train, test)}
    table = tidy_rows(names, simulate(chains, test, real), expected(chains, chains.sets, real), baseline)
    write(table, Path(job.output["measurements"]))
    job.log.info("%s, %s: %d seeds", chains.label, chains.regime, chains.seeds)


def simulate(chains: Chains, test: Array, real: Array | None) -> dict[str, Array]:
    """By metric, (seeds, iterations); `real` are the rows that all seeds begin with, if they are given."""
    sets = chains.sets
    layout = rows.layout(sets, chains.rows)

    def run_block(streams: stacked.Streams, seeds: int) -> Mapping[str, Array]:
        return rows.run(Densities(chains, seeds, test, real), layout, streams, seeds)

    width = rows.lanes(chains.rows, chains.data.columns, len(sets))
    return stacked.blocks(run_block, digest([chains.data.plain, chains.bandwidth]), chains.seeds, width)


def expected(chains: Chains, sets: Sequence[TrainingSet], real: Array | None) -> dict[str, Array]:
    """The expected variance of the density (iterations,): that of its points, by the law of the regime, and h².

    A sampled row has the variance of the points and h² more. Under replace the points' variance is
    S ← (1 - 1/n)(S + h²), which grows to (n - 1) h².
    """
    given = real is not None
    if not has_law(sets) or (given and any(take.fresh for one in sets for take in one.takes)):
        return {}
    unit = 1.0 if real is None else float(variance(real))
    h2 = chains.bandwidth**2
    return {"variance": unit * law(sets, Fit(chains.rows, added=h2 / unit, given=given)).variance + h2}
