"""Atomic writes: temporary sibling, fsync, rename."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfloop.identity import digest

LONGEST = 255  # bytes of a file's name


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that replaces `folder` when the block ends without an error."""
    folder = Path(folder)
    scratch = _sibling(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        for path in sorted(scratch.rglob("*")):
            if path.is_file() and not path.is_symlink():
                _fsync(path)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    finally:  # after an error; otherwise it has been renamed
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path that replaces `path` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = _sibling(path)
    try:
        yield scratch
        _fsync(scratch)
        os.replace(scratch, path)
    finally:  # after an error; otherwise it has been renamed
        scratch.unlink(missing_ok=True)


def _sibling(path: Path) -> Path:
    name = f".{path.name}.partial"
    return path.with_name(name if len(os.fsencode(name)) <= LONGEST else f".{digest(path.name)}.partial")


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
