"""Points in Parquet, and the real ones."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selfloop.data.shards import iterate_rows, shard_paths, write_table
from selfloop.domains.kde.config import Data
from selfloop.identity import digest, stream

Array = npt.NDArray[np.float64]
SCHEMA = pa.schema(
    [("x", pa.list_(pa.float64())), ("iteration", pa.int16()), ("part", pa.int16()), ("row", pa.int64())]
)
CENTRES = ((-4.0, 0.0), (0.0, 4.0), (4.0, -4.0))
NOISE = 0.1  # of moons and circles, whose radius is 1, and of the roll, whose is 4 to 14


def write_rows(folder: Path, X: Array, iteration: int = 0, part: int = 0, first: int = 0) -> None:
    """Write a data set of points (rows, d), atomically.

    Args:
        folder: of the data set.
        X: points (rows, d).
        iteration: of the model that samples the rows; 0 for real ones.
        part: which of that model's parts.
        first: the number of the first row.
    """
    rows, d = X.shape
    ends = pa.array(np.arange(0, rows * d + 1, d), pa.int32())
    constant = [pa.repeat(pa.scalar(value, pa.int16()), rows) for value in (iteration, part)]
    columns = [pa.ListArray.from_arrays(ends, pa.array(X.ravel())), *constant, pa.array(np.arange(first, first + rows))]
    write_table(folder, pa.table(columns, schema=SCHEMA))


def numbers(batch: pa.RecordBatch) -> Array:
    """The column x of a batch, (rows, d)."""
    flat = batch.column("x").flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(batch.num_rows, -1))


def read_rows(folder: Path) -> Array:
    """A whole data set, (rows, d)."""
    return np.concatenate([numbers(batch) for batch in iterate_rows(shard_paths(folder), ["x"])])


def real_rows(data: Data) -> tuple[Array, Array, Array]:
    """The real rows to train on, those to test on and those in reserve, (rows, d) each."""
    identity = digest(data.without("reserve").plain)
    counts = {"rows": data.rows, "test rows": data.test_rows, "reserve rows": round(data.reserve * data.rows)}
    train, test, reserve = (points(data, count, stream(identity, purpose)) for purpose, count in counts.items())
    return train, test, reserve


def points(data: Data, count: int, seed: int) -> Array:
    """Points of the distribution, (count, d)."""
    if data.source == "normal" or not count:
        return np.random.default_rng(seed).standard_normal((count, data.dimension or 1))
    from sklearn import datasets

    state = seed % 2**32  # as scikit-learn takes them
    if data.source == "blobs":
        return np.asarray(datasets.make_blobs(count, centers=np.array(CENTRES), random_state=state)[0])
    if data.source == "moons":
        return np.asarray(datasets.make_moons(count, noise=NOISE, random_state=state)[0])
    if data.source == "circles":
        return np.asarray(datasets.make_circles(count, noise=NOISE, factor=0.5, random_state=state)[0])
    return np.asarray(datasets.make_swiss_roll(count, noise=NOISE, random_state=state)[0])
