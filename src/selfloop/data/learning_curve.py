"""A training's learning curve on disk: one row per measured value."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfloop.data.atomic import whole_file

SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("step", pa.int64()),
        ("epoch", pa.float64()),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)


def write_curve(points: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the points that `fit` recorded: `loss` is of the train split, the others of the test split."""
    rows = [
        {
            "split": "train" if metric == "loss" else "test",
            "step": point["step"],
            "epoch": point["epoch"],
            "metric": metric,
            "value": value,
        }
        for point in points
        for metric, value in point.items()
        if metric not in ("step", "epoch")
    ]
    with whole_file(path) as scratch:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), scratch, compression="zstd")
