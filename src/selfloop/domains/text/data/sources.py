"""Sources of real text: a packaged corpus, local files, or a hub data set, split into train and test documents.

`problems` and `known_train_rows` run while the Snakefile is parsed: they import neither numpy nor `datasets`, and
pyarrow only for Parquet and zstd files. `documents` runs in prepare_data and reads the data twice: to validate and hash
every document, and to yield the sampled ones. Memory is bounded by the longest document and eight bytes per document.
"""

import difflib
import hashlib
import os
from array import array
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from selfloop.config.section import given
from selfloop.data import reserve
from selfloop.domains.text.config import Data, Division
from selfloop.domains.text.data import files
from selfloop.domains.text.data.files import Raw
from selfloop.domains.text.data.reading import Tally, divided, in_file, kept, with_prompts
from selfloop.errors import UserError
from selfloop.inputs import hub, shakespeare
from selfloop.inputs.files import Found, compression, unreadable
from selfloop.inputs.paths import matching_files, real

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

COUNTED_BYTES = 32 * 2**20  # total size of local files up to which documents are counted at parse time
LOOKED_AT = 2**20  # characters of other sources that are read at parse time
TYPICAL_COMPRESSION = 8  # assumed maximum compression ratio of text files

Log = Callable[[str], None]
Reader = Callable[[Found], Raw]  # starts a pass over a split, and counts notes for the log


# --- while the Snakefile is parsed ---------------------------------------------------------------------------------


def problems(data: Data) -> list[str]:
    """What is wrong with a `data` section; a sentence each: the key, its value, what is allowed.

    Reads only the beginning or footer of files, unless `rows` is compared with the documents of small ones.
    """
    messages = []
    if data.rows is not None and data.fraction is not None:
        messages.append(
            f"data.rows and data.fraction: {data.rows} and {data.fraction} are both given (allowed is one of"
            " the two, or null for both)"
        )
    if data.source == "files":
        messages += _file_problems(data)
    else:
        messages += [
            f"data.{key}: {getattr(data, key)!r} is given with source: {data.source} (allowed is null)"
            for key in ("train", "test")
            if getattr(data, key)
        ]
    if data.source == "packaged":
        messages += _packaged_problems(given(data.name))
        if data.prompt_column is not None:
            messages.append(f"data.prompt_column: {data.prompt_column!r} is given with source: packaged; leave it out")
    if data.source == "hub":
        messages += hub.problems(data)
    if not messages and (data.rows is not None or data.reserve):
        try:
            available = _available_train_rows(data)
            if available is not None and data.rows is not None and data.rows > available:
                messages.append(_too_few("rows", data.rows, available))
            elif available is not None and data.reserve:
                _train_and_reserve(data, available)
        except UserError as error:
            return [str(error)]
    return messages


def known_train_rows(data: Data) -> int | None:
    """An upper bound of the train rows where it is cheap, else None.

    Exact for small .txt and .jsonl files; for Parquet the footers' rows, before null and short ones are dropped; for
    other sources `data.rows`.

    Raises:
        UserError: a file cannot be read, or holds values that are not text.
    """
    available = _available_train_rows(data)
    if available is None:
        return None if data.rows is None else data.rows
    return _train_and_reserve(data, available)[0] if data.reserve else min(available, _wanted_rows(data, available))


def input_files(data: Data) -> list[str]:
    """The user's files that are read; none for packaged data and those of the hub."""
    if data.source == "hub":
        return hub.input_files(data)
    if data.source != "files":
        return []
    return [str(path) for key in ("train", "test") for path in matching_files(getattr(data, key))[0]]


def _file_problems(data: Data) -> list[str]:
    messages = []
    paths: dict[str, list[Path]] = {}
    if not data.train:
        messages.append(f"data.train: {data.train!r} names no file (allowed are paths and globs of {files.ALLOWED})")
    for key in ("train", "test"):
        paths[key], unmatched = matching_files(getattr(data, key))
        messages += [f"data.{key}: {pattern!r} matches no file (searched from {os.getcwd()})" for pattern in unmatched]
        for path in paths[key]:
            problem = unreadable(path)
            if path.is_dir():
                messages.append(f"data.{key}: '{path}' is a folder (allowed are its files, e.g. '{path}/*.parquet')")
            elif problem:
                messages.append(f"data.{key}: {problem}")
            elif files.kind(path) is None:
                messages.append(f"data.{key}: '{path}' has an unknown extension (allowed are {files.ALLOWED})")
            else:
                messages += _column_problems(path, "text_column", data.text_column)
                if data.prompt_column is not None:
                    messages += _column_problems(path, "prompt_column", data.prompt_column)
    train = {real(path) for path in paths["train"]}
    for path in (path for path in paths["test"] if real(path) in train):
        messages.append(f"data.test: '{path}' is among the files of data.train too (allowed: other files, or null)")
    return messages


def _column_problems(path: Path, key: str, column: str) -> list[str]:
    """Whether a Parquet file's schema, or a JSON-lines file's first line, has the column that `key` names once."""
    if files.kind(path) == ".txt":
        prompts = f"data.prompt_column: {column!r} is given, and '{path}' has no columns (allowed: .jsonl, .parquet)"
        return [prompts] if key == "prompt_column" else []
    try:
        columns = files.columns(path)
    except UserError as error:
        return [str(error)]
    types = [type_ for name, type_ in columns if name == column]
    if not types and (columns or files.kind(path) == ".parquet"):
        return [hub.missing_column(key, column, path.name, [name for name, _ in columns])]
    if len(types) > 1:
        return [files.twice(column, str(path), key)]
    if files.kind(path) == ".parquet" and types != ["string"]:
        return [f"data.{key}: {column!r} of {path.name} holds {types[0]} (allowed are strings)"]
    return []


def _packaged_problems(name: str) -> list[str]:
    if name not in shakespeare.NAMES:
        allowed = ", ".join(shakespeare.NAMES)
        return [f"data.name: {name!r} is not a packaged corpus (allowed: {allowed}){_nearest(name)}"]
    try:
        shakespeare.plays()
    except UserError as error:
        return [str(error)]
    return []


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, shakespeare.NAMES, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _too_few(key: str, wanted: int, available: int) -> str:
    return f"data.{key}: {wanted} is more than there are (allowed are 1 to {available})"


def _available_train_rows(data: Data) -> int | None:
    """Train rows before `rows` and `fraction`, where they are cheap to count."""
    if data.source != "files":
        return None  # reading all plays takes half a second, too long for every parsing of the Snakefile
    paths = matching_files(data.train)[0]
    lengths = _lengths(data, paths)
    if lengths is None or (data.by_paragraph and any(files.kind(path) == ".parquet" for path in paths)):
        return None
    total = len(lengths)
    for path in paths:
        if files.kind(path) == ".parquet":
            total += files.parquet(path).metadata.num_rows
    return total if data.test else total - _test_rows_of(total, data)


def first_lengths(data: Data) -> tuple[list[int], bool]:
    """Characters of the first train documents, before any is held out, and whether these are all; none of the hub.

    All are read where `known_train_rows` has read them; otherwise about `LOOKED_AT` characters.

    Raises:
        UserError: as `known_train_rows`.
    """
    paths = matching_files(data.train)[0] if data.source == "files" else []
    if paths and all(files.kind(path) != ".parquet" for path in paths):
        whole = _lengths(data, paths)
        if whole is not None:
            return whole, True
    raw: Raw = iter(())
    if data.source == "files":
        reads = (data.text_column, data.separator, data.documents, Found(), data.prompt_column)
        raw = chain.from_iterable(in_file(path, *reads) for path in paths)
    elif data.source == "packaged":
        raw = divided(data.documents, shakespeare.split("train", given(data.name)))
    lengths, characters = [], 0
    for document, _ in kept(raw, data.min_characters, Tally()):
        lengths.append(len(document))
        characters += len(document)
        if characters > LOOKED_AT:
            return lengths, False
    return lengths, True


def _lengths(data: Data, paths: list[Path]) -> list[int] | None:
    """Characters of each document in the files that are not Parquet, or None if these are not cheap to count."""
    plain = [path for path in paths if files.kind(path) != ".parquet"]
    size = sum(path.stat().st_size * (TYPICAL_COMPRESSION if compression(path) else 1) for path in plain)
    if size > COUNTED_BYTES:
        return None
    lengths: list[int] = []
    for path in plain:
        stat = path.stat()
        reads = (path, data.text_column, data.separator, data.documents, data.prompt_column)
        found = _measure(*reads, data.min_characters, stat.st_size, stat.st_mtime_ns)
        if found is None:
            return None
        lengths += found
    return lengths


@lru_cache(maxsize=256)
def _measure(
    path: Path,
    column: str,
    separator: str,
    division: Division,
    prompts: str | None,
    min_characters: int,
    size: int,
    mtime_ns: int,
) -> "array[int] | None":
    """Characters of one file's documents, or None if they are not cheap to count; the last two invalidate the cache."""
    tally = Tally()
    lengths, characters = array("L"), 0
    for document, _ in kept(in_file(path, column, separator, division, tally.notes, prompts), min_characters, tally):
        lengths.append(len(document))
        characters += len(document)
        if characters > 2 * COUNTED_BYTES:  # unpacks to more than expected
            return None
    return lengths


# --- while the data are prepared -----------------------------------------------------------------------------------


def documents(data: Data, log: Log) -> tuple[Iterator[str], Iterator[str], Iterator[str]]:
    """The train and test documents and those of the reserve in source order, a function of the data and `data.seed`.

    Where there are prompts, a document is its prompt, PROMPT_END and its response.

    Everything is validated before this returns; the iterators read the source a second time.

    Args:
        data: the validated `data` section.
        log: called with a line on dropped documents, sizes of splits and duplicates across splits.

    Raises:
        UserError: a missing or damaged file, a wrong column or value, too few rows, or an empty split; the message
        names
            the key or the file. From an iterator: the source has changed since.
    """
    import numpy as np

    messages = problems(data)
    if messages:
        raise UserError("\n".join(messages))
    seed = int(data.seed)
    read_train, read_test = _readers(data)

    train_hashes = _survey("train", read_train, data.min_characters, log)
    train = np.arange(len(train_hashes))
    if read_test is None:
        drawn = _draw(len(train), _test_rows_of(len(train), data), [seed, 1])
        train = np.setdiff1d(train, drawn)
        read_test, test_hashes, test = read_train, train_hashes, drawn
        log(f"no test split given: holding out {len(test)} of {len(train_hashes)} documents")
    else:
        test_hashes = _survey("test", read_test, data.min_characters, log)
        test = np.arange(len(test_hashes))
    for name, indices in (("train", train), ("test", test)):
        if len(indices) == 0:
            raise UserError(
                f"data: the {name} split holds no document of at least data.min_characters: {data.min_characters}"
                " characters (allowed is a source that gives at least one for train and one for test)"
            )

    pool, wanted = train, _checked_rows(data, "rows", len(train))
    wanted, kept = _train_and_reserve(data, len(pool)) if data.reserve else (wanted, 0)
    train = pool[_draw(len(pool), wanted, [seed, 2])]
    rest = np.setdiff1d(pool, train) if kept else pool[:0]
    reserved = rest[_draw(len(rest), kept, [seed, 4])]
    test = test[_draw(len(test), _checked_rows(data, "test_rows", len(test)), [seed, 3])]
    log(f"train: {len(train)} documents")
    log(f"test: {len(test)} documents")
    if data.reserve:
        log(f"reserve: {len(reserved)} documents")
    shared = int(np.isin(train_hashes[train], test_hashes[test]).sum())
    if shared:
        log(
            f"warning: {shared} of {len(train)} train documents are in the test split too, word for word; they are kept"
        )
    return (
        _select(read_train, train, len(train_hashes), data.min_characters),
        _select(read_test, test, len(test_hashes), data.min_characters),
        _select(read_train, reserved, len(train_hashes), data.min_characters),
    )


def _readers(data: Data) -> tuple[Reader, Reader | None]:
    """Functions that start a pass over each split, and count notes; None if the source has no test split."""
    if data.source == "packaged":
        return (
            lambda _: divided(data.documents, shakespeare.split("train", given(data.name))),
            lambda _: divided(data.documents, shakespeare.split("test", given(data.name))),
        )
    if data.source == "hub":
        train = _hub_reader(data, "train_split")
        return train, None if data.test_split is None else _hub_reader(data, "test_split")

    def reader(paths: list[Path]) -> Reader:
        return lambda notes: (
            item
            for path in paths
            for item in in_file(path, data.text_column, data.separator, data.documents, notes, data.prompt_column)
        )

    test_paths = matching_files(data.test)[0]
    return reader(matching_files(data.train)[0]), reader(test_paths) if test_paths else None


def _hub_reader(data: Data, split_key: str) -> Reader:
    """Loads a hub split, and returns a function that iterates over its documents."""
    table = hub.load_split(data, split_key, ("text_column", "prompt_column"))
    names = [data.text_column, *([] if data.prompt_column is None else [data.prompt_column])]
    table = table.select_columns(names).with_format("arrow")

    def read(_: Found) -> Raw:
        row = 1
        for batch in table.iter(batch_size=files.BATCH_ROWS):
            where = f"{data.name} [{getattr(data, split_key)}]"
            columns = [files.arrow_values(batch.column(name), where, row) for name in names]
            values = divided(data.documents, columns[0])
            yield from values if len(columns) == 1 else with_prompts(columns[1], values)
            row += batch.num_rows

    return read


def _survey(name: str, read: Reader, min_characters: int, log: Log) -> "npt.NDArray[np.uint64]":
    """Validate and hash a whole split, and log dropped documents."""
    import numpy as np

    tally = Tally()
    for document, _ in kept(read(tally.notes), min_characters, tally):
        tally.hashes.append(int.from_bytes(hashlib.blake2b(document.encode(), digest_size=8).digest(), "little"))
    if tally.null:
        log(f"{name}: {tally.null} documents dropped: null")
    if tally.short:
        log(f"{name}: {tally.short} documents dropped: empty, or shorter than {min_characters} characters")
    for note in tally.notes.described():
        log(f"{name}: {note}")
    return np.frombuffer(tally.hashes, dtype=np.uint64) if tally.hashes else np.zeros(0, dtype=np.uint64)


def _select(read: Reader, indices: "npt.NDArray[np.int64]", total: int, min_characters: int) -> Iterator[str]:
    """The documents at the sorted `indices`; the first pass counted `total`."""
    wanted = iter(indices.tolist())
    next_index = next(wanted, None)
    count = 0
    tally = Tally()
    for document, _ in kept(read(tally.notes), min_characters, tally):
        if count == next_index:
            yield document
            next_index = next(wanted, None)
        count += 1
    if count != total:
        raise UserError(f"data: the source changed while it was read: {total} documents at first, then {count}")


def _draw(rows: int, wanted: int, stream: list[int]) -> "npt.NDArray[np.int64]":
    """`wanted` of `rows` indices, sorted, sampled without replacement from their own random stream."""
    import numpy as np

    if wanted == rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng(stream).choice(rows, size=wanted, replace=False, shuffle=False))


def _test_rows_of(rows: int, data: Data) -> int:
    """Size of a held-out test split of `rows` documents: at least one."""
    return min(rows, max(1, round(rows * data.test_fraction)))


def _wanted_rows(data: Data, available: int) -> int:
    if data.rows is not None:
        return data.rows
    if data.fraction is not None:
        return max(1, round(available * data.fraction))
    return available


def _train_and_reserve(data: Data, available: int) -> tuple[int, int]:
    """Documents to train on, and those of the reserve, of the `available` ones."""
    all_others = data.rows is None and data.fraction is None
    wanted = None if all_others else _wanted_rows(data, available)
    return reserve.counts(available, wanted, data.reserve, "documents")


def _checked_rows(data: Data, key: str, available: int) -> int:
    if key == "test_rows":
        wanted = available if getattr(data, key) is None else int(getattr(data, key))
    else:
        wanted = _wanted_rows(data, available)
    if wanted > available:
        raise UserError(_too_few(key, wanted, available))
    return wanted
