"""Atomic writes: temporary sibling, fsync, rename; and before the rename, the record of checksums."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfloop.checksums import hidden_sibling, record, record_file


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that replaces `folder` when the block ends without an error."""
    folder = Path(folder)
    scratch = hidden_sibling(folder, "partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        for path in sorted(scratch.rglob("*")):
            if path.is_file() and not path.is_symlink():
                _fsync(path)
        _record(folder, scratch)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    finally:  # after an error; otherwise it has been renamed
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def atomic_file(path: Path, checksum: bool = True) -> Iterator[Path]:
    """A temporary path that replaces `path` when the block ends without an error.

    Args:
        path: the file.
        checksum: whether to record its checksum beside it, as of all that a step may read.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = hidden_sibling(path, "partial")
    try:
        yield scratch
        _fsync(scratch)
        if checksum:
            _record(path, scratch)
        os.replace(scratch, path)
    finally:  # after an error; otherwise it has been renamed
        scratch.unlink(missing_ok=True)


def _record(artifact: Path, content: Path) -> None:
    """Write the checksums before the rename: a kill leaves no artifact without them."""
    with atomic_file(record_file(artifact), checksum=False) as scratch:
        scratch.write_bytes(record(content))


def _fsync(path: Path) -> None:
    with path.open("rb") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # some network and container mounts
                raise
