"""Inputs and labels in Parquet, and the real ones."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selfloop.data.reserve import counts
from selfloop.data.shards import iterate_rows, shard_paths, write_table
from selfloop.domains.logistic.config import Data
from selfloop.identity import digest, stream
from selfloop.inputs import packaged

Array = npt.NDArray[np.float64]
SCHEMA = pa.schema(
    [
        ("x", pa.list_(pa.float64())),
        ("y", pa.int8()),
        ("iteration", pa.int16()),
        ("part", pa.int16()),
        ("row", pa.int64()),
    ]
)
TEST_ROWS = 10_000  # of normal inputs


def write_rows(folder: Path, X: Array, y: Array, iteration: int = 0, part: int = 0) -> None:
    """Write a data set, atomically.

    Args:
        folder: of the data set.
        X: inputs (rows, d).
        y: labels (rows,), 0 or 1.
        iteration: of the model that samples the labels; 0 for real ones.
        part: which of that model's parts.
    """
    rows, d = X.shape
    ends = pa.array(np.arange(0, rows * d + 1, d), pa.int32())
    constant = [pa.repeat(pa.scalar(value, pa.int16()), rows) for value in (iteration, part)]
    columns = [pa.ListArray.from_arrays(ends, pa.array(X.ravel())), pa.array(y.astype(np.int8)), *constant]
    write_table(folder, pa.table([*columns, pa.array(np.arange(rows))], schema=SCHEMA))


def arrays(batch: pa.RecordBatch) -> tuple[Array, Array]:
    """X (rows, d) and y (rows,) of a batch with the columns x and y."""
    flat = batch.column("x").flatten().to_numpy(zero_copy_only=False)
    labels = batch.column("y").to_numpy(zero_copy_only=False).astype(np.float64)
    return flat.reshape(batch.num_rows, -1), labels


def read_rows(folder: Path) -> tuple[Array, Array]:
    """A whole data set: X (rows, d) and y (rows,)."""
    inputs, labels = zip(*map(arrays, iterate_rows(shard_paths(folder), ["x", "y"])), strict=True)
    return np.concatenate(inputs), np.concatenate(labels)


def probabilities(X: Array, w: Array) -> Array:
    """Of label 1 by parameters w (…, d + 1) whose last is the intercept."""
    scores = X @ w[..., :-1].T + w[..., -1]
    return np.asarray(np.exp(-np.logaddexp(0, -scores)))


def real_rows(data: Data) -> tuple[tuple[Array, Array], tuple[Array, Array], tuple[Array, Array]]:
    """The real rows to train on, those to test on and those in reserve, X and y each."""
    if data.source == "packaged":
        (X, y), test = packaged.labelled_diabetes(data.test_fraction, int(data.seed))
        kept, others = counts(len(X), None, data.reserve)
        return (X[:kept], y[:kept]), test, (X[kept : kept + others], y[kept : kept + others])
    assert data.dimension is not None and data.rows is not None
    identity = digest(data.without("reserve").plain)
    generator, further = (np.random.default_rng(stream(identity, purpose)) for purpose in ("rows", "reserve rows"))
    w = np.r_[np.full(data.dimension, data.signal / data.dimension**0.5), 0.0]
    drawn = []
    sizes = (data.rows, generator), (TEST_ROWS, generator), (round(data.reserve * data.rows), further)
    for rows, numbers in sizes:
        X = numbers.standard_normal((rows, data.dimension))
        drawn.append((X, (numbers.random(rows) < probabilities(X, w)).astype(np.float64)))
    return drawn[0], drawn[1], drawn[2]
