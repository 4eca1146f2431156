"""Rule simulate_chains: all seeds and iterations of one scenario, vectorised."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfloop.data.atomic import atomic_file
from selfloop.data.parquet import FORMAT
from selfloop.domains.linear.config import Chains
from selfloop.domains.linear.simulation.scenario import scenario_of
from selfloop.domains.linear.simulation.simulate import Simulation, simulate
from selfloop.jobs.job import Job, StepParams
from selfloop.training.malloc import keep_freed_memory

SPLIT = "simulation"  # distinct from "test", the split of the loop's models


class Params(StepParams):
    """What the step takes of its params."""

    simulation: Chains


def run(job: Job[Params]) -> None:
    """Simulate the seeds 0 to `seeds` - 1 and write `tidy_rows`."""
    keep_freed_memory()  # every block of seeds allocates the same arrays
    parameters = job.params.simulation
    simulation = simulate(scenario_of(parameters), range(parameters.seeds))
    with atomic_file(Path(job.output["measurements"])) as scratch:
        pq.write_table(tidy_rows(simulation), scratch, **FORMAT)
    job.log.info("%s, %s: %d seeds", simulation.scenario.label, simulation.scenario.regime, len(simulation.seeds))


def tidy_rows(simulation: Simulation) -> pa.Table:
    """The errors as rows of `results/metrics.parquet`: one row per seed and iteration (1-based), seed by seed.

    Without the columns experiment and domain, since experiments may share a simulation.
    """
    seeds, iterations = simulation.error.shape
    constant = {
        "model": simulation.scenario.label,
        "regime": simulation.scenario.regime,
        "sampling": "gaussian",
        "split": SPLIT,
        "metric": "excess_risk",
    }
    columns = {name: pa.repeat(pa.scalar(value), seeds * iterations) for name, value in constant.items()}
    columns["seed"] = pa.array(np.repeat(simulation.seeds, iterations))
    columns["iteration"] = pa.array(np.tile(np.arange(1, iterations + 1), seeds))
    columns["value"] = pa.array(simulation.error.ravel())
    return pa.table(columns)
