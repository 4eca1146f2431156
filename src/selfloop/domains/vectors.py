"""Data sets of vectors in Parquet, for the domains whose rows are points."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selfloop.data.shards import iterate_rows, no_validation, shard_paths, write_table
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams

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


def write_splits(job: Job[StepParams], train: Array, test: Array, reserve: Array) -> None:
    """Write what prepare_data has read or drawn, (rows, d) each, to the job's outputs.

    Raises:
        UserError: a number is not finite.
    """
    write_rows(Path(job.output["train"]), train)
    write_rows(Path(job.output["test"]), test)
    no_validation(Path(job.output["validation"]), SCHEMA)
    if "reserve" in job.output:
        write_rows(Path(job.output["reserve"]), reserve, first=len(train))
    job.log.info("%d rows in %d dimensions, %d rows to test on", *train.shape, len(test))


def numbers(batch: pa.RecordBatch) -> Array:
    """The column x of a batch, (rows, d)."""
    flat = batch.column("x").flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(batch.num_rows, -1))


def read_rows(folder: Path) -> Array:
    """A whole data set, (rows, d)."""
    return np.concatenate([numbers(batch) for batch in iterate_rows(shard_paths(folder), ["x"])])


def ball_scores(X: Array, center: Sequence[float] | None, radius: float) -> Array:
    """Of rows (rows, d), minus their distance from the ball around `center`, 0 if None; 0 of those inside."""
    away = np.linalg.norm(X if center is None else X - np.array(center), axis=1)
    return np.asarray(-np.maximum(0.0, away - radius))
