"""Documents in local files: .txt with a separator line, .jsonl, .parquet, each plain or compressed.

Values are yielded unchecked with their location; `sources` validates them.
"""

import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from selfloop.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FORMATS = (".txt", ".jsonl", ".parquet")
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
ALLOWED = ".txt, .jsonl or .parquet, each also with .gz, .bz2, .xz or .zst"
BATCH_ROWS = 1_000

Raw = Iterator[tuple[object, str]]  # an unchecked value and its location, e.g. "stories.txt, line 7"


def compression(path: Path) -> str | None:
    """One of COMPRESSIONS, or None."""
    return path.suffix.lower() if path.suffix.lower() in COMPRESSIONS else None


def kind(path: Path) -> str | None:
    """One of FORMATS, or None for a file of another kind."""
    suffix = Path(path.stem).suffix.lower() if compression(path) else path.suffix.lower()
    return suffix if suffix in FORMATS else None


def columns(path: Path) -> dict[str, str]:
    """Columns of a .parquet file (by its schema) or .jsonl file (by its first line) with their types.

    Raises:
        UserError: the file cannot be read, or is empty.
    """
    if kind(path) == ".parquet":
        return {
            column.name: "string" if is_text(column.type) else str(column.type) for column in parquet(path).schema_arrow
        }
    for line, number in lines(path):
        if line.strip():
            return {key: type(value).__name__ for key, value in _json_object(line, f"{path}, line {number}").items()}
    raise UserError(f"data: '{path}' holds no line")


def is_text(type_: "pa.DataType") -> bool:
    """Whether an Arrow type is string, dictionary of strings, or null."""
    import pyarrow as pa

    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_null(type_)) or (
        hasattr(pa.types, "is_string_view") and bool(pa.types.is_string_view(type_))
    )


def documents(path: Path, column: str, separator: str) -> Raw:
    """The values of one file, in order; lines and rows are counted from 1.

    Args:
        path: a file of a known kind.
        column: the text column of a .jsonl or .parquet file.
        separator: the line that ends a document in a .txt file, compared after stripping.

    Raises:
        UserError: the file is missing, damaged or not UTF-8; a .txt file without separator; a line that is not a JSON
            object, or lacks the column.
    """
    if kind(path) == ".parquet":
        yield from _parquet_documents(path, column)
    elif kind(path) == ".jsonl":
        yield from _jsonl_documents(path, column)
    else:
        yield from _txt_documents(path, separator)


def arrow_values(column: "pa.Array[Any] | pa.ChunkedArray[Any]", where: str, first_row: int) -> Raw:
    """The values of an Arrow column as Python objects."""
    for row, value in enumerate(column, start=first_row):
        try:
            yield value.as_py(), f"{where}, row {row}"
        except UnicodeDecodeError as error:
            raise UserError(f"{where}, row {row}: not valid UTF-8 ({error.reason})") from None


def lines(path: Path) -> Iterator[tuple[str, int]]:
    """Lines of a text file and their numbers, without line ends and byte order mark.

    Raises:
        UserError: the file is missing, truncated or damaged, or a line is not UTF-8 or holds a NUL.
    """
    with _open(path) as stream:
        number = 0
        while True:
            try:
                line = stream.readline()
            except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
                raise _damaged(path, error) from error
            if not line:
                break
            number += 1
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if b"\0" in line:
                raise UserError(f"{path}, line {number}: holds a NUL character (allowed is text in UTF-8)")
            try:
                yield line.decode("utf-8").rstrip("\r\n"), number
            except UnicodeDecodeError as error:
                message = f"byte {line[error.start]:#04x} at column {error.start + 1} is not valid UTF-8"
                raise UserError(f"{path}, line {number}: {message} (allowed is text in UTF-8)") from None
        if number == 0 and compression(path) and path.stat().st_size == 0:
            raise _damaged(path, EOFError("it has no bytes"))


def parquet(path: Path) -> "pq.ParquetFile":
    """Open a Parquet file; one that is compressed as a whole is unpacked in memory.

    Raises:
        UserError: the file is missing, truncated or no Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if not compression(path):
            return pq.ParquetFile(path)
        with _open(path) as stream:
            return pq.ParquetFile(pa.BufferReader(stream.read()))
    except (EOFError, OSError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _txt_documents(path: Path, separator: str) -> Raw:
    document: list[str] = []
    start, separators = 1, 0
    for line, number in lines(path):
        if line.strip() == separator.strip():
            separators += 1
            yield "\n".join(document).strip(), f"{path}, line {start}"
            document, start = [], number + 1
        else:
            document.append(line)
    if separators == 0:
        raise UserError(
            f"data.separator: {separator!r} is on no line of {path}, which would make the whole file one document;"
            " that is likely not wanted (allowed is the line that ends each document of the file)"
        )
    if any(line.strip() for line in document):  # the last document needs no separator
        yield "\n".join(document).strip(), f"{path}, line {start}"


def _jsonl_documents(path: Path, column: str) -> Raw:
    for line, number in lines(path):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        record = _json_object(line, place)
        if column not in record:
            raise UserError(f"data.text_column: {column!r} is not in {place} (it has: {', '.join(record)})")
        yield record[column], place


def _json_object(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: not valid JSON, {error} (allowed is one object per line)") from None
    if not isinstance(record, dict):
        raise UserError(f"{place}: a JSON {type(record).__name__} (allowed is one object per line)")
    return record


def _parquet_documents(path: Path, column: str) -> Raw:
    import pyarrow as pa

    with parquet(path) as file:
        batches = file.iter_batches(batch_size=BATCH_ROWS, columns=[column])
        row = 1
        while True:
            try:
                batch = next(batches, None)
            except (OSError, pa.ArrowException) as error:
                raise _damaged(path, error) from error
            if batch is None:
                return
            yield from arrow_values(batch.column(0), str(path), row)
            row += batch.num_rows


def _open(path: Path) -> IO[bytes]:
    """The decompressed bytes of a file. fsspec would need the package zstandard for .zst, which pyarrow covers."""
    try:
        match compression(path):
            case ".gz":
                return io.BufferedReader(gzip.open(path))
            case ".bz2":
                return bz2.open(path)
            case ".xz":
                return lzma.open(path)
            case ".zst":
                return _open_zstd(path)
            case _:
                return path.open("rb")
    except OSError as error:
        raise _damaged(path, error) from error


def _open_zstd(path: Path) -> IO[bytes]:
    import pyarrow as pa

    return io.BufferedReader(pa.input_stream(str(path), compression="zstd"), buffer_size=1 << 20)


def _damaged(path: Path, error: BaseException) -> UserError:
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return UserError(f"'{path}' cannot be read: {error.strerror}")
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"'{path}' is truncated or damaged: {first_line} (allowed are {ALLOWED})")
