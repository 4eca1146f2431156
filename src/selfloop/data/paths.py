"""Files that a config names by paths and globs."""

import glob
import os
from pathlib import Path


def matching_files(patterns: str | list[str] | None) -> tuple[list[Path], list[str]]:
    """The files that paths and globs match, each once under its first name, and the patterns without a match.

    In the order of the patterns, those of a glob sorted. A path that exists is taken literally, glob characters
    included.
    """
    found: dict[Path, Path] = {}  # by resolved path
    unmatched = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns or []:
        expanded = os.path.expanduser(pattern)
        names = [expanded] if os.path.exists(expanded) else sorted(glob.glob(expanded, recursive=True))
        for path in map(Path, names):
            found.setdefault(real(path), path)
        if not names:
            unmatched.append(pattern)
    return list(found.values()), unmatched


def real(path: Path) -> Path:
    """`path.resolve()`, but links in a circle are left as they are."""
    return Path(os.path.realpath(path))
