"""Links to files, and copies where they cannot be made: exFAT and some network and container mounts have none."""

import logging
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path


def hard_link(file: Path, link: Path) -> int:
    """Make `link` a hard link to `file`, or a copy; returns the bytes copied, 0 for a link.

    Raises:
        FileExistsError: `link` exists.
        OSError: it cannot be copied either.
    """
    return _linked(file, link, lambda: os.link(file, link))


def relative_link(file: Path, link: Path, folder: Path) -> int:
    """Make `link` a relative symbolic link to `file`, or a copy; returns the bytes copied, 0 for a link.

    Args:
        file: an existing file.
        link: its new name, in a temporary folder.
        folder: where the link will lie in the end; it and that of `file` may be reached by links themselves.

    Raises:
        FileExistsError: `link` exists.
        OSError: it cannot be copied either.
    """
    # The kernel reads the link from the folder where it really lies.
    target = os.path.join(os.path.realpath(file.parent), file.name)
    return _linked(file, link, lambda: os.symlink(os.path.relpath(target, os.path.realpath(folder)), link))


def _linked(file: Path, link: Path, make: Callable[[], None]) -> int:
    try:
        make()
    except FileExistsError:
        raise
    except OSError:  # file systems say it in many ways: EPERM, EOPNOTSUPP, ENOSYS, EXDEV, EMLINK, EACCES, EINVAL, ...
        shutil.copyfile(file, link)
        return file.stat().st_size
    return 0


def log_copies(sizes: Iterable[int]) -> None:
    """Say in the step's log what had to be copied, by what the functions above returned for its files."""
    copied = [size for size in sizes if size]
    if copied:
        told = (len(copied), sum(copied) / 1e6)
        logging.getLogger("selfloop").info("no links can be made here; files copied: %d, %.1f MB", *told)
