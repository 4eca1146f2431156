"""Linear data in Parquet: x, y, and the noise in y, so that every single fit can be compared with theory."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from selfloop.data.atomic import atomic_folder
from selfloop.data.shards import ShardWriter, iterate_rows, shard_paths
from selfloop.domains.linear.theory import Array
from selfloop.errors import UserError

SCHEMA = pa.schema(
    [
        ("x", pa.list_(pa.float64())),
        ("y", pa.float64()),
        ("noise", pa.float64()),
        ("iteration", pa.int16()),
        ("part", pa.int16()),
        ("row", pa.int64()),
    ]
)


def write_rows(
    folder: Path, X: Array, w: Array, noise: Array, iteration: int = 0, part: int = 0, first: int = 0
) -> None:
    """Write a data set with the labels y = Xw + noise.

    Args:
        folder: written atomically.
        X: inputs (rows, d).
        w: parameters (d,).
        noise: (rows,).
        iteration: of the model that samples the rows; 0 for real ones.
        part: which of that model's parts.
        first: the number of the first row.

    Raises:
        UserError: a label is not finite.
    """
    y = X @ w + noise
    if not np.isfinite(y).all():
        raise UserError(f"{folder} would hold labels that are not finite; they cannot become training data.")
    with atomic_folder(folder) as scratch, ShardWriter(scratch, SCHEMA) as writer:
        for row, (x, label, error) in enumerate(zip(X.tolist(), y.tolist(), noise.tolist(), strict=True), start=first):
            writer.append({"x": x, "y": label, "noise": error, "iteration": iteration, "part": part, "row": row})


def arrays(batch: pa.RecordBatch) -> tuple[Array, Array]:
    """X (rows, d) and y (rows,) of a batch with the columns x and y."""
    inputs = batch.column("x").flatten().to_numpy(zero_copy_only=False)
    return inputs.reshape(batch.num_rows, -1), batch.column("y").to_numpy(zero_copy_only=False)


def noisy(batch: pa.RecordBatch, real: Array) -> tuple[Array, Array]:
    """`arrays` of a batch with the columns iteration and row too, with the noise `real` added to the real rows."""
    X, y = arrays(batch)
    rows = batch.column("row").to_numpy(zero_copy_only=False)
    is_real = batch.column("iteration").to_numpy(zero_copy_only=False) == 0
    return X, np.where(is_real, y + real[rows], y)


def read_rows(folder: Path) -> tuple[Array, Array, Array]:
    """A whole data set: X (rows, d), y (rows,) and noise (rows,)."""
    batches = list(iterate_rows(shard_paths(folder), ["x", "y", "noise"]))
    X, y = stacked(map(arrays, batches))
    return X, y, np.concatenate([batch.column("noise").to_numpy(zero_copy_only=False) for batch in batches])


def stacked(batches: Iterable[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Concatenate pairs of X and y."""
    inputs, labels = zip(*batches, strict=True)
    return np.concatenate(inputs), np.concatenate(labels)
