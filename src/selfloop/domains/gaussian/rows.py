"""Rows of numbers in Parquet, and the real ones."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selfloop.data.shards import iterate_rows, shard_paths, write_table
from selfloop.domains.gaussian.config import Data
from selfloop.errors import UserError
from selfloop.identity import digest, stream
from selfloop.inputs import packaged

Array = npt.NDArray[np.float64]
SCHEMA = pa.schema(
    [("x", pa.list_(pa.float64())), ("iteration", pa.int16()), ("part", pa.int16()), ("row", pa.int64())]
)


def write_rows(folder: Path, X: Array, iteration: int = 0, part: int = 0, first: int = 0) -> None:
    """Write a data set.

    Args:
        folder: written atomically.
        X: (rows, d).
        iteration: of the model that samples the rows; 0 for real ones.
        part: which of that model's parts.
        first: the number of the first row.

    Raises:
        UserError: a number is not finite.
    """
    if not np.isfinite(X).all():
        raise UserError(f"{folder} would hold numbers that are not finite; they cannot become training data.")
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
    """The real rows to train on, those to test on and those in reserve, (rows, d) each.

    Of N(0, I) the test rows are ±√d along each axis: their mean and covariance are the distribution's own, so that
    measurements on them have no sampling error.
    """
    if data.source == "packaged":
        assert data.name is not None
        size = data.dimension, data.rows, data.test_fraction
        return packaged.split(data.name, *size, int(data.seed), data.reserve)
    assert data.dimension is not None and data.rows is not None
    d = data.dimension
    identity, counts = digest(data.without("reserve").plain), (data.rows, round(data.reserve * data.rows))
    generators = [np.random.default_rng(stream(identity, purpose)) for purpose in ("rows", "reserve rows")]
    train, reserve = (own.standard_normal((count, d)) for own, count in zip(generators, counts, strict=True))
    return train, d**0.5 * np.concatenate([np.eye(d), -np.eye(d)]), reserve
