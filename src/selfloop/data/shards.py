"""Data sets on disk: folders of zstd Parquet shards, readable by pandas, polars, DuckDB and `datasets`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfloop.checksums import is_shadow
from selfloop.data.atomic import atomic_folder
from selfloop.data.parquet import FORMAT
from selfloop.links import hard_link, log_copies

ROWS_PER_SHARD = 100_000
ROWS_PER_GROUP = 10_000
BUFFERED_SIZE = 2**25


class ShardWriter:
    """Append rows to a folder of shards; memory is bounded by one row group.

    Args:
        folder: an existing folder, usually that of `atomic_folder`.
        schema: columns of every shard.
        rows_per_shard: rows per file.
        rows_per_group: rows buffered in memory, `ROWS_PER_GROUP` if None; fewer if they hold more than `BUFFERED_SIZE`
            characters, bytes and list entries.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        rows_per_shard: int = ROWS_PER_SHARD,
        rows_per_group: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.schema = schema
        self.rows_per_shard = rows_per_shard
        self.rows_per_group = min(rows_per_group or ROWS_PER_GROUP, rows_per_shard)
        self.rows = 0
        self._buffer: list[Mapping[str, object]] = []
        self._size = 0
        self._file: pq.ParquetWriter | None = None

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is None:
            self._flush()
            if self.rows == 0:  # an empty data set is still a data set that opens
                self._writer()
        if self._file is not None:
            self._file.close()

    def append(self, row: Mapping[str, object]) -> None:
        """Add a row, a mapping from column to value."""
        self._buffer.append(row)
        self._size += sum(len(value) for value in row.values() if isinstance(value, str | bytes | list | np.ndarray))
        if len(self._buffer) == self.rows_per_group or self._size >= BUFFERED_SIZE:
            self._flush()

    def _writer(self) -> pq.ParquetWriter:
        if self._file is None:
            path = self.folder / f"shard-{self.rows // self.rows_per_shard:05d}.parquet"
            self._file = pq.ParquetWriter(path, self.schema, **FORMAT)
        return self._file

    def _flush(self) -> None:
        self._size = 0
        while self._buffer:
            room = self.rows_per_shard - self.rows % self.rows_per_shard
            rows, self._buffer = self._buffer[:room], self._buffer[room:]
            self._writer().write_table(pa.Table.from_pylist(list(rows), schema=self.schema))
            self.rows += len(rows)
            if self.rows % self.rows_per_shard == 0 and self._file is not None:
                self._file.close()
                self._file = None


def write_table(folder: Path, table: pa.Table) -> None:
    """Write a data set that is in memory as a whole."""
    with atomic_folder(folder) as scratch:
        for number, begin in enumerate(range(0, max(table.num_rows, 1), ROWS_PER_SHARD)):
            path, rows = scratch / f"shard-{number:05d}.parquet", table.slice(begin, ROWS_PER_SHARD)
            pq.write_table(rows, path, row_group_size=ROWS_PER_GROUP, **FORMAT)


def no_validation(folder: Path, schema: pa.Schema) -> None:
    """Write the validation split of a domain that never watches one: a data set without rows."""
    with atomic_folder(folder) as scratch, ShardWriter(scratch, schema):
        pass


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a data set in order, without the shadows that other systems put beside them (`._shard-…`).

    Raises:
        FileNotFoundError: the folder holds no Parquet file.
    """
    paths = sorted(path for path in Path(folder).glob("*.parquet") if not is_shadow(path.name))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no Parquet shard")
    return paths


def count_rows(folder: Path) -> int:
    """Rows of a data set, from the footers of its shards."""
    return sum(pq.read_metadata(path).num_rows for path in shard_paths(folder))


def iterate_rows(
    paths: Sequence[Path], columns: Sequence[str], batch_rows: int = ROWS_PER_GROUP
) -> Iterator[pa.RecordBatch]:
    """Record batches of the named columns; memory is bounded by one row group."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield from file.iter_batches(batch_size=batch_rows, row_groups=[group], columns=list(columns))


def join_shards(folders: Sequence[Path], target: Path) -> None:
    """Hard-link the shards of several data sets into the existing folder `target`, in order; empty ones are skipped."""
    paths = [path for folder in folders for path in shard_paths(folder)]
    filled = [path for path in paths if pq.read_metadata(path).num_rows] or paths[:1]
    log_copies([hard_link(path, target / f"shard-{number:05d}.parquet") for number, path in enumerate(filled)])
