"""What the rule simulate_chains writes: rows of `results/metrics.parquet`, without the experiments that share them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from selfloop.data.atomic import atomic_file
from selfloop.data.parquet import FORMAT
from selfloop.data.quantity import SIMULATION

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
# Splits distinct from "test", that of the loop's models.
EXPECTED = f"{SIMULATION}-theory"  # as seed 0, where a law is known
BASELINE = f"{SIMULATION}-baseline"  # of a predictor that learns nothing, as seed 0 and iteration 0


def tidy_rows(
    names: Mapping[str, str],
    measured: Mapping[str, Array],
    expected: Mapping[str, Array],
    untrained: Mapping[str, float],
) -> pa.Table:
    """A row per metric, seed and iteration (1-based), seed by seed; then those of the law, and of the baseline.

    Args:
        names: the columns model, regime and sampling.
        measured: by metric, (seeds, iterations).
        expected: by metric, (iterations,), where there is a law.
        untrained: by metric, the value of a predictor that learns nothing.
    """
    blocks: list[tuple[str, str, Integers, Integers, Array]] = []
    for metric, values in measured.items():
        seeds, iterations = values.shape
        numbers, zeros = np.arange(1, iterations + 1, dtype=np.int64), np.zeros(iterations, np.int64)
        seed = np.repeat(np.arange(seeds, dtype=np.int64), iterations)
        blocks.append((SIMULATION, metric, seed, np.tile(numbers, seeds), values.ravel()))
        if metric in expected:
            blocks.append((EXPECTED, metric, zeros, numbers, expected[metric]))
        if metric in untrained:
            blocks.append((BASELINE, metric, zeros[:1], zeros[:1], np.array([untrained[metric]])))
    lengths = [len(block[-1]) for block in blocks]
    splits, metrics, *columns = zip(*blocks, strict=True)
    return pa.table(
        {
            **{name: pa.repeat(pa.scalar(text), sum(lengths)) for name, text in names.items()},
            "split": pa.array(np.repeat(splits, lengths)),
            "metric": pa.array(np.repeat(metrics, lengths)),
            **{
                name: pa.array(np.concatenate(column))
                for name, column in zip(("seed", "iteration", "value"), columns, strict=True)
            },
        }
    )


def write(table: pa.Table, path: Path) -> None:
    """Write the rows."""
    with atomic_file(path) as scratch:
        pq.write_table(table, scratch, **FORMAT)
