"""Files that a config names by paths and globs."""

import glob
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from selfloop.errors import UserError

GLOBS = 1_000  # in one list
LOOKED_AT = 100_000  # files and folders that a glob may look at
BRACKETS = 100  # in a glob: looking for each one's end takes a time that grows with the square
WALKED = 5_000_000  # files and folders below one that is read as a whole
QUIET = 2.0  # seconds of looking before a line says so


class TooMany(UserError):
    """More files and folders than data can be made of."""


def _globbed(pattern: str) -> list[str]:
    """The files that a glob matches, sorted."""
    if not glob.has_magic(pattern):
        return [pattern] if os.path.lexists(pattern) else []  # a link that leads nowhere
    if pattern.count("[") > BRACKETS:
        raise TooMany(f"{pattern[:80]!r}... has more than {BRACKETS} brackets.")
    parts = Path(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if glob.has_magic(part))
    deep = None if "**" in parts else len(parts) - fixed
    _check_globbed(pattern, Path(*parts[:fixed]), deep)
    return sorted(glob.glob(pattern, recursive=True))


def _check_globbed(pattern: str, top: Path, deep: int | None) -> None:
    """Refuse a glob that looks at too much, which would take minutes: count what is there first."""
    count, pending = 0, [(str(top), 1)]
    while pending:
        folder, level = pending.pop()
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                count += 1
                if count > LOOKED_AT:
                    raise TooMany(
                        f"{pattern!r} has to look at more than {LOOKED_AT:,} files and folders; name a folder nearer "
                        "to the files."
                    )
                if (deep is None or level < deep) and not entry.name.startswith(".") and entry.is_dir():
                    pending.append((entry.path, level + 1))


def walked(path: Path) -> Iterator[tuple[str, list[str]]]:
    """`os.walk` without the folders below: follows links, visits each folder once and skips hidden ones.

    Raises:
        TooMany: there are more files and folders than data can be made of.
    """
    visited, count, began = {os.path.realpath(path)}, 0, time.monotonic()
    for folder, folders, files in os.walk(path, followlinks=True):
        new = []
        for name in sorted(name for name in folders if not name.startswith(".")):
            real = os.path.realpath(os.path.join(folder, name))
            if real not in visited:
                visited.add(real)
                new.append(name)
        folders[:] = new
        count += len(files) + 1
        if count > WALKED:
            raise TooMany(f"'{path}' holds more than {WALKED:,} files and folders; name a folder nearer to the files.")
        if time.monotonic() > began + QUIET:
            print(f"selfloop: looks for data in '{path}', {count:,} files and folders so far", file=sys.stderr)
            began = math.inf
        yield folder, files


def matching_files(patterns: str | list[str] | None) -> tuple[list[Path], list[str]]:
    """The files that paths and globs match, each once under its first name, and the patterns without a match.

    In the order of the patterns, those of a glob sorted. A path that exists is taken literally, glob characters
    included.

    Raises:
        TooMany: there are more patterns, or a glob has to look at more, than data can be made of.
    """
    if isinstance(patterns, list) and len(patterns) > LOOKED_AT:
        raise TooMany(f"{len(patterns):,} paths; at most {LOOKED_AT:,}.")
    if isinstance(patterns, list) and (globs := sum(map(glob.has_magic, patterns))) > GLOBS:
        raise TooMany(f"{globs:,} globs; at most {GLOBS:,}.")
    found: dict[Path, Path] = {}  # by resolved path
    unmatched = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns or []:
        expanded = os.path.expanduser(pattern)
        names = [expanded] if os.path.exists(expanded) else _globbed(expanded)
        for path in map(Path, names):
            found.setdefault(real(path), path)
        if not names:
            unmatched.append(pattern)
    return list(found.values()), unmatched


def real(path: Path) -> Path:
    """`path.resolve()`, but links in a circle are left as they are."""
    return Path(os.path.realpath(path))
