"""Rule simulate_chains: all seeds and iterations of one setting, by the fast paths of `simulate`."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfloop.data.atomic import whole_file
from selfloop.domains.linear.simulation.setting import setting_of
from selfloop.domains.linear.simulation.simulate import Simulation, simulate
from selfloop.jobs.job import Job
from selfloop.training.malloc import keep_freed_memory

SPLIT = "simulation"  # apart from "test", which the loop's models are measured on


def run(job: Job) -> None:
    """Write the table of `tidy_rows`, for as many seeds, from 0, as the settings say."""
    keep_freed_memory()  # every block of seeds allocates the same arrays
    settings = job.params["simulation"]
    simulation = simulate(setting_of(settings), range(settings["seeds"]))
    with whole_file(Path(job.output["measurements"])) as scratch:
        pq.write_table(tidy_rows(simulation), scratch, compression="zstd")
    job.log.info("%s, %s: %d seeds", simulation.setting.label, simulation.setting.regime, len(simulation.seeds))


def tidy_rows(simulation: Simulation) -> pa.Table:
    """The errors as rows of `results/metrics.parquet`: one row per seed and iteration (1-based), seed by seed.

    The columns experiment and domain are left to the study: experiments may share a simulation.
    """
    seeds, iterations = simulation.error.shape
    same = {
        "model": simulation.setting.label,
        "regime": simulation.setting.regime,
        "sampling": "gaussian",
        "split": SPLIT,
        "metric": "excess_risk",
    }
    columns = {name: pa.repeat(pa.scalar(value), seeds * iterations) for name, value in same.items()}
    columns["seed"] = pa.array(np.repeat(simulation.seeds, iterations))
    columns["iteration"] = pa.array(np.tile(np.arange(1, iterations + 1), seeds))
    columns["value"] = pa.array(simulation.error.ravel())
    return pa.table(columns)
