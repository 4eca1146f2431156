"""Rule simulate_chains: all seeds and iterations of one scenario, vectorised."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfloop.data.atomic import atomic_file
from selfloop.data.parquet import FORMAT
from selfloop.domains.linear.config import Chains
from selfloop.domains.linear.simulation.prediction import expected_error, untrained_error
from selfloop.domains.linear.simulation.scenario import scenario_of
from selfloop.domains.linear.simulation.simulate import Simulation, simulate
from selfloop.jobs.job import Job, StepParams
from selfloop.training.malloc import keep_freed_memory

# Splits distinct from "test", that of the loop's models.
SPLIT = "simulation"
THEORY = "simulation-theory"  # the predicted mean, as seed 0, where a law is known
BASELINE = "simulation-baseline"  # the error of w = 0, as seed 0 and iteration 0


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

    Then a row per iteration with the predicted mean, where a law is known, and one with the error of w = 0. Without the
    columns experiment and domain, since experiments may share a simulation.
    """
    scenario = simulation.scenario
    seeds, iterations = simulation.error.shape
    numbers = np.arange(1, iterations + 1)
    expected = expected_error(scenario)
    blocks = [(SPLIT, np.repeat(simulation.seeds, iterations), np.tile(numbers, seeds), simulation.error.ravel())]
    if expected is not None:
        blocks.append((THEORY, np.zeros(iterations, np.int64), numbers, expected))
    blocks.append((BASELINE, np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([untrained_error(scenario)])))
    split, seed, iteration, value = zip(*blocks, strict=True)
    constant = {"model": scenario.label, "regime": scenario.regime, "sampling": "gaussian"}
    rows = sum(map(len, value))
    return pa.table(
        {
            **{name: pa.repeat(pa.scalar(text), rows) for name, text in constant.items()},
            "split": pa.array(np.repeat(split, [len(block) for block in value])),
            "metric": pa.repeat(pa.scalar("excess_risk"), rows),
            "seed": pa.array(np.concatenate(seed)),
            "iteration": pa.array(np.concatenate(iteration)),
            "value": pa.array(np.concatenate(value)),
        }
    )
