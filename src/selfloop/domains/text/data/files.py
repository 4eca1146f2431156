"""Documents in local files: .txt with a separator line, .jsonl, .parquet, each plain or compressed.

Values are yielded unchecked with their location; `sources` validates them.
"""

import json
import lzma
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfloop.errors import UserError
from selfloop.inputs.files import (
    LONGEST,
    Found,
    JsonObject,
    compression,
    damaged,
    json_integer,
    json_object,
    opened,
    place,
    text_lines,
    too_long,
    unreadable,
)
from selfloop.numbers import size

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FORMATS = (".txt", ".jsonl", ".parquet")
ALLOWED = ".txt, .jsonl or .parquet, each also with .gz, .bz2, .xz or .zst"
BATCH_ROWS = 1_000
MOST_UNPACKED = 2**30  # bytes of a .parquet file that is compressed as a whole: it is unpacked in memory

Raw = Iterator[tuple[object, str]]  # an unchecked value and its location, e.g. "stories.txt, line 7"


def kind(path: Path) -> str | None:
    """One of FORMATS, or None for a file of another kind."""
    suffix = Path(path.stem).suffix.lower() if compression(path) else path.suffix.lower()
    return suffix if suffix in FORMATS else None


def columns(path: Path) -> list[tuple[str, str]]:
    """Columns of a .parquet file (by its schema) or .jsonl file (by its first line) with their types.

    A column that is there twice is listed twice; a .jsonl file without lines has none.

    Raises:
        UserError: the file cannot be read.
    """
    if kind(path) == ".parquet":
        schema = parquet(path).schema_arrow
        return [(column.name, "string" if is_text(column.type) else str(column.type)) for column in schema]
    for text, line in text_lines(path):
        if text.strip():
            record = _json_object(text, place(path, line.number))
            return [(key, type(record[key]).__name__) for key in (*record, *record.twice)]
    return []


def is_text(type_: "pa.DataType") -> bool:
    """Whether an Arrow type is string, dictionary of strings, or null."""
    import pyarrow as pa

    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_null(type_)) or (
        hasattr(pa.types, "is_string_view") and bool(pa.types.is_string_view(type_))
    )


def documents(
    path: Path, column: str, separator: str, notes: Found, may_lack: bool = False, key: str = "text_column"
) -> Raw:
    """The values of one file, in order; lines and rows are counted from 1.

    Args:
        path: a file of a known kind.
        column: the text column of a .jsonl or .parquet file.
        separator: what ends a document in a .txt file, see `Separator`.
        notes: counts what a reader of the log should know.
        may_lack: whether a .txt file without separator is one document.
        key: of the config, which names the column.

    Raises:
        UserError: the file is missing, damaged or not UTF-8; a .txt file without separator, unless `may_lack`; a line
            that is not a JSON object, or does not have the column once; a document that is longer than LONGEST.
    """
    if kind(path) == ".parquet":
        values = _parquet_documents(path, column, key)
    elif kind(path) == ".jsonl":
        values = _jsonl_documents(path, column, key)
    else:
        values = _txt_documents(path, separator, notes, may_lack)
    empty = True
    for value in values:
        yield value
        empty = False
    if empty:
        notes.add("empty files", str(path))


def arrow_values(column: "pa.Array[Any] | pa.ChunkedArray[Any]", where: str, first_row: int) -> Raw:
    """The values of an Arrow column as Python objects.

    Raises:
        UserError: a value is not UTF-8, or longer than LONGEST.
    """
    _check_lengths(column, where, first_row)
    for row, value in enumerate(column, start=first_row):
        try:
            yield value.as_py(), f"{where}, row {row}"
        except UnicodeDecodeError as error:
            raise UserError(f"{where}, row {row}: not valid UTF-8 ({error.reason})") from None


def _check_lengths(column: "pa.Array[Any] | pa.ChunkedArray[Any]", where: str, first_row: int) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        lengths = pc.binary_length(column)
        if (pc.max(lengths).as_py() or 0) > LONGEST:
            row = pc.index(pc.greater(lengths, LONGEST), True).as_py()
            raise UserError(too_long("document", f"{where}, row {first_row + row}"))


def parquet(path: Path) -> "pq.ParquetFile":
    """Open a Parquet file; one that is compressed as a whole is unpacked in memory.

    Raises:
        UserError: the file is missing, truncated or no Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    problem = unreadable(path)
    if problem:
        raise UserError(problem)
    try:
        source: object = path
        if compression(path):
            with opened(path) as stream:
                content = stream.read(MOST_UNPACKED + 1)
            if len(content) > MOST_UNPACKED:
                unpack = "unpack it, and name the .parquet file"
                raise UserError(f"'{path}' unpacks to more than {size(MOST_UNPACKED)}; {unpack}")
            source = pa.BufferReader(content)
        file = pq.ParquetFile(source)
        _ = file.schema_arrow.names  # damaged ones are not UTF-8
        return file
    except (EOFError, OSError, zlib.error, lzma.LZMAError, UnicodeDecodeError, pa.ArrowException) as error:
        raise damaged(path, error, ALLOWED) from error


class Separator:
    """What ends a document in a .txt file: a line that holds nothing but the separator.

    One that no text holds by chance, such as <|endoftext|>, [SEP] or === END === (letters between punctuation), ends
    documents wherever it is found in a line, in any case and with any spaces in it. Others, such as ---, may be part of
    a sentence.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        parts = [re.escape(part) for part in re.findall(r"\w+|[^\w\s]+", self.text)]
        self.marker: re.Pattern[str] | None = None
        if re.fullmatch(r"[^\w\s].*[^\W\d_].*[^\w\s]", self.text):
            self.marker = re.compile(r"\s*".join(parts), re.IGNORECASE)

    def split(self, line: str) -> list[str]:
        """The pieces of a line between separators; the line alone if it holds none."""
        if self.text[:1] not in line:  # the first character of a marker is punctuation, which has one case
            return [line]
        if line.strip() == self.text:
            return ["", ""]
        return [line] if self.marker is None else self.marker.split(line)


def _txt_documents(path: Path, separator: str, notes: Found, may_lack: bool) -> Raw:
    ends = Separator(separator)
    document: list[str] = []
    start, separators, length = 1, 0, 0
    for text, line in text_lines(path):
        first, *others = ends.split(text)
        if line.joined and any(map(str.strip, document)):
            yield "\n".join(document).strip(), place(path, start)
            document, start, length = [], line.number, 0
        document.append(first)
        length += len(first) + 1
        if length > LONGEST:
            raise UserError(too_long("document", place(path, start)))
        for piece in others:
            yield "\n".join(document).strip(), place(path, start)
            document, start, length = [piece.lstrip("\ufeff")], line.number + (not piece.strip()), len(piece) + 1
        separators += len(others)
        if others and (first.strip() or any(map(str.strip, others))):
            notes.add("lines hold the separator beside other text; a document ends there", place(path, line.number))
        elif ends.text and not others and ends.text in text:
            notes.add(
                f"lines hold the separator {ends.text!r} beside other text; no document ends there",
                place(path, line.number),
            )
    rest = "\n".join(document).strip()
    if separators == 0 and rest and not may_lack:
        raise UserError(
            f"data.separator: {separator!r} is on no line of {path}, which would make the whole file one document;"
            " that is likely not wanted (allowed is the line that ends each document of the file, or "
            "data.documents, which divides long ones)"
        )
    if rest:  # the last document needs no separator
        yield rest, place(path, start)


def _jsonl_documents(path: Path, column: str, key: str) -> Raw:
    for text, line in text_lines(path):
        if not text.strip():
            continue
        where = place(path, line.number)
        record = _json_object(text, where)
        if column not in record:
            raise UserError(f"data.{key}: {column!r} is not in {where} (it has: {', '.join(record)})")
        if column in record.twice:
            raise UserError(twice(column, where, key))
        yield record[column], where


def twice(column: str, where: str, key: str = "text_column") -> str:
    """The message for a column that is there more than once."""
    return f"data.{key}: {column!r} is there twice in {where}, and which of them is meant is unknown; rename one"


def _json_object(text: str, where: str) -> JsonObject:
    try:
        record = json.loads(text, object_pairs_hook=json_object, parse_int=json_integer)
    except RecursionError:
        raise UserError(f"{where}: nested more deeply than Python reads JSON (allowed is less)") from None
    except ValueError as error:
        mark = text.find("\ufeff")
        hint = f"; column {mark + 1} is a byte order mark, where another file begins" if mark >= 0 else ""
        raise UserError(f"{where}: not valid JSON, {error}{hint} (allowed is one object per line)") from None
    if not isinstance(record, JsonObject):
        raise UserError(f"{where}: a JSON {type(record).__name__} (allowed is one object per line)")
    return record


def _parquet_documents(path: Path, column: str, key: str) -> Raw:
    import pyarrow as pa

    with parquet(path) as file:
        if file.schema_arrow.names.count(column) > 1:
            raise UserError(twice(column, str(path), key))
        average = _average_length(file)
        if average > LONGEST and file.metadata.num_columns == 1:
            raise UserError(too_long("document", str(path)))
        batches = file.iter_batches(batch_size=max(1, min(BATCH_ROWS, LONGEST // (average + 1))), columns=[column])
        row = 1
        while True:
            try:
                batch = next(batches, None)
            except (OSError, pa.ArrowException) as error:
                raise damaged(path, error, ALLOWED) from error
            if batch is None:
                return
            yield from arrow_values(batch.column(column), str(path), row)
            row += batch.num_rows


def _average_length(file: "pq.ParquetFile") -> int:
    """Bytes of a row, on average over the row group where that is largest.

    Not of the text column alone: on damaged metadata of columns, pyarrow ends the process.
    """
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    return max([0, *(int(group.total_byte_size // group.num_rows) for group in groups if group.num_rows > 0)])
