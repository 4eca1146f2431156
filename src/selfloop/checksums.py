"""Checksums of artifacts: what a step reads is what another has written.

The record of an artifact, a file or a folder, is the hidden file `.NAME.checksums` beside it: JSON with the size and
the XXH3-128 of every file. It is not inside the folder, since polars opens none that holds more than Parquet files.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath

import xxhash

from selfloop.identity import digest

ALGORITHM = "xxh3-128"  # 7 GB/s where SHA-256 takes 1.0 and BLAKE2b 0.35: damage is accidental
REMEDY = "Delete {} and run Snakemake again: it is made again."  # an artifact
CHUNK = 2**20
LONGEST = 255  # bytes of a file's name
SHADOWS = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Entry:
    """One file: bytes, and the checksum as 32 hexadecimal digits."""

    size: int
    checksum: str


class Unrecorded(Exception):
    """The checksums of an artifact are missing or unreadable; the message says which."""


def record_file(artifact: Path) -> Path:
    """Where the checksums of an artifact are."""
    return hidden_sibling(artifact, "checksums")


def hidden_sibling(path: Path, suffix: str) -> Path:
    """The hidden file `.NAME.SUFFIX` beside a path; a digest in place of a name that is too long for that."""
    name = f".{path.name}.{suffix}"
    return path.with_name(name if len(os.fsencode(name)) <= LONGEST else f".{digest(path.name)}.{suffix}")


def is_shadow(name: PurePath | str) -> bool:
    """Whether a file, relative to its artifact, is hidden, an editor's backup or a file manager's: no step reads it."""
    parts = PurePath(name).parts
    return any(part.startswith(".") for part in parts) or parts[-1].endswith("~") or parts[-1].lower() in SHADOWS


def files(artifact: Path) -> Iterator[str]:
    """The files of an artifact, relative to it and without shadows; "" if it is a file itself."""
    if not artifact.is_dir():
        yield ""
        return
    for path in sorted(artifact.rglob("*")):
        name = path.relative_to(artifact)
        if not is_shadow(name) and (path.is_symlink() or not path.is_dir()):
            yield name.as_posix()


def measured(path: Path, advance: Callable[[int], object] = lambda count: None) -> Entry:
    """Size and checksum of a file; `advance` is told the bytes as they are read."""
    total, size = xxhash.xxh3_128(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
            size += len(chunk)
            advance(len(chunk))
    return Entry(size, total.hexdigest())


def record(content: Path) -> bytes:
    """The record of an artifact that lies in `content` so far.

    What it links to has the checksum that is recorded there: damage before the link was made is noticed, too.

    Raises:
        OSError: a link leads nowhere.
    """
    entries = {name: asdict(_linked(content / name) or measured(content / name)) for name in files(content)}
    return json.dumps({"algorithm": ALGORITHM, "files": entries}, indent=1).encode() + b"\n"


def _linked(path: Path) -> Entry | None:
    """The recorded checksum of the file of another artifact that a link leads to."""
    if not path.is_symlink():
        return None
    target = path.resolve()
    try:
        return recorded(target.parent).get(target.name)
    except Unrecorded:
        return None


def recorded(artifact: Path) -> dict[str, Entry]:
    """The files of an artifact as they were written, relative to it.

    Raises:
        Unrecorded: the record is missing or unreadable.
    """
    path = record_file(artifact)
    if path.exists() and not path.is_file():  # a FIFO would be waited for, and a device read without end
        raise Unrecorded(f"{path}, the record of its checksums, is not a file")
    try:
        values = json.loads(path.read_bytes())
        if values["algorithm"] != ALGORITHM:
            raise ValueError(f"algorithm {values['algorithm']}")
        entries = values["files"].items()
        return {_inside(name): Entry(int(entry["size"]), str(entry["checksum"])) for name, entry in entries}
    except FileNotFoundError:
        raise Unrecorded(f"{path}, the record of its checksums, is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Unrecorded(f"{path}, the record of its checksums, cannot be read ({error})") from None


def _inside(name: str) -> str:
    """The name of a file in an artifact, "" of one that is a file itself.

    Raises:
        ValueError: no file in a folder is called so.
    """
    parts = name.split("/") if name else []
    if "\0" in name or any(part in ("", "..") or len(os.fsencode(part)) > LONGEST for part in parts):
        raise ValueError(f"{name[:60]!r} is not a file in it")
    return name
