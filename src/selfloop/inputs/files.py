"""Users' files: regular ones, plain or compressed, read as lines that know their place, within bounded memory.

One rule for all readers: a byte order mark at the beginning of any line is not part of it (files that were joined have
one in the middle), lines end in LF, CRLF or CR, and bytes are decoded only where they are used.
"""

import bz2
import gzip
import io
import lzma
import os
import stat
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from selfloop.errors import UserError
from selfloop.numbers import size

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
LONGEST = 2**26  # bytes of a line or a document; tokenizing one takes some 30 times as much memory
BOM = b"\xef\xbb\xbf"
BOM_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Line(NamedTuple):
    """A line without its end and byte order marks.

    Attributes:
        content: its bytes.
        number: from 1.
        joined: whether another file begins here: a byte order mark that is not the first file's.
    """

    content: bytes
    number: int
    joined: bool


class Found(Counter[str]):
    """What was found in data, counted.

    Attributes:
        first: where the first of each is, if known.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, str] = {}

    def add(self, what: str, where: str) -> None:
        """Count one more, which is at `where`."""
        self[what] += 1
        self.first.setdefault(what, where)

    def described(self) -> list[str]:
        """Counts with places, the most common first."""
        return [
            f"{count} {what}" + (f" (first: {self.first[what]})" if what in self.first else "")
            for what, count in self.most_common()
        ]


def compression(path: Path) -> str | None:
    """One of COMPRESSIONS, or None."""
    return path.suffix.lower() if path.suffix.lower() in COMPRESSIONS else None


def irregular(path: Path) -> str | None:
    """What a path is in place of a file, such as "a FIFO", whose opening would wait for ever; None for a file.

    Raises:
        OSError: it is not there.
    """
    mode = os.stat(path).st_mode
    return None if stat.S_ISREG(mode) else next((kind for test, kind in _KINDS if test(mode)), "no file")


def unreadable(path: Path) -> str | None:
    """Why a path cannot be read as a file, as a sentence that begins with the path; None if it can."""
    try:
        kind = irregular(path)
    except OSError as error:
        return f"'{path}' cannot be read: {error.strerror}"
    return kind and f"'{path}' is {kind} (allowed are files)"


def opened(path: Path) -> IO[bytes]:
    """The decompressed bytes of a file. fsspec would need the package zstandard for .zst, which pyarrow covers.

    Raises:
        UserError: it is not there, or no file.
    """
    problem = unreadable(path)
    if problem:
        raise UserError(problem)
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
        raise damaged(path, error) from error


def lines(path: Path) -> Iterator[Line]:
    """The lines of a plain or compressed file.

    Raises:
        UserError: the file cannot be opened, is truncated or damaged, or has a line of more than LONGEST bytes.
    """
    with opened(path) as stream:
        number = 0
        while True:
            try:
                raw = stream.readline(LONGEST + 1)
            except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
                raise damaged(path, error) from error
            if not raw:
                break
            if len(raw) > LONGEST:
                raise UserError(too_long("line", place(path, number + 1)))
            whole = raw.rstrip(b"\r\n")
            for content in whole.split(b"\r") if b"\r" in whole else (whole,):
                number += 1
                if content.startswith(BOM):
                    while content.startswith(BOM):
                        content = content[len(BOM) :]
                    yield Line(content, number, number > 1)
                else:
                    yield Line(content, number, False)
        if number == 0 and compression(path) and path.stat().st_size == 0:
            raise damaged(path, EOFError("it has no bytes"))


def text_lines(path: Path) -> Iterator[tuple[str, Line]]:
    """The lines of a file in UTF-8, decoded.

    Raises:
        UserError: as `lines`, or a line is not UTF-8 or holds a NUL.
    """
    for line in lines(path):
        content, number, _ = line
        problem = None
        if number == 1 and content.startswith(BOM_UTF_16):
            problem = "begins with the byte order mark of UTF-16"
        elif b"\0" in content:
            problem = "holds a NUL character"
        else:
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError as error:
                problem = f"byte {content[error.start]:#04x} at column {error.start + 1} is not valid UTF-8"
        if problem:
            raise UserError(f"{place(path, number)}: {problem} (allowed is text in UTF-8)")
        yield text, line


def place(path: Path, number: int) -> str:
    """Where a line stands, e.g. "stories.txt, line 7"."""
    return f"{path}, line {number}"


def too_long(what: str, where: str) -> str:
    """The message for a line or document of more than LONGEST bytes, which begins at `where`."""
    return f"{where}: the {what} is longer than {size(LONGEST)} (allowed is less; divide it into documents)"


def damaged(path: Path, error: BaseException, allowed: str = "") -> UserError:
    """The message for an error while reading a file."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return UserError(f"'{path}' cannot be read: {error.strerror}")
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    if any(word in first_line.lower() for word in ("limit", "too much memory")):
        return UserError(f"'{path}' cannot be read, for it is beyond a limit of its decoder: {first_line}")
    return UserError(f"'{path}' is truncated or damaged: {first_line}{allowed and f' (allowed are {allowed})'}")


def json_integer(digits: str) -> int | float:
    """For `json.loads(…, parse_int=json_integer)`: Python reads no integers of thousands of digits."""
    return int(digits) if len(digits) < 1000 else float(digits)


class JsonObject(dict[str, object]):
    """An object of a JSON text that remembers which keys it has twice."""

    twice: frozenset[str] = frozenset()


def json_object(pairs: list[tuple[str, object]]) -> JsonObject:
    """For `json.loads(…, object_pairs_hook=json_object)`."""
    read = JsonObject(pairs)
    if len(read) < len(pairs):
        keys = [key for key, _ in pairs]
        read.twice = frozenset(key for key in keys if keys.count(key) > 1)
    return read


def _open_zstd(path: Path) -> IO[bytes]:
    import pyarrow as pa

    return io.BufferedReader(pa.input_stream(str(path), compression="zstd"), buffer_size=1 << 20)
