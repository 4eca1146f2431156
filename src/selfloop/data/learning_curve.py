"""A training's learning curve as Parquet: one row per value."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from selfloop.data.atomic import atomic_file
from selfloop.data.parquet import FORMAT

COLUMNS = [
    ("split", pa.string()),
    ("step", pa.int64()),
    ("epoch", pa.float64()),
    ("metric", pa.string()),
    ("value", pa.float64()),
]
VALIDATION = "validation_"  # begins the names of metrics of the validation split
CurvePoint = Mapping[str, float]  # step, epoch, loss, and a task's metrics


def write_curve(points: Sequence[CurvePoint], path: Path) -> None:
    """Write the points of `loop.Fit.curve`: `loss` is of the train split, metrics that begin with `VALIDATION` of the
    validation split, all others of the test split.
    """
    rows = [
        {
            "split": _split(metric),
            "step": point["step"],
            "epoch": point["epoch"],
            "metric": metric.removeprefix(VALIDATION),
            "value": value,
        }
        for point in points
        for metric, value in point.items()
        if metric not in ("step", "epoch")
    ]
    with atomic_file(path) as scratch:
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(COLUMNS)), scratch, **FORMAT)


def of_validation(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics of the validation split, by the names that they have in a point."""
    return {f"{VALIDATION}{name}": value for name, value in metrics.items()}


def _split(metric: str) -> str:
    if metric.startswith(VALIDATION):
        return "validation"
    return "train" if metric == "loss" else "test"
