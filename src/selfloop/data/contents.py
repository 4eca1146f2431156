"""What the user's files hold, by digest: names of prepared data are made of it, and no date of a file counts.

A digest is kept below `.snakemake` with the file's size, inode and times: only if one of these differs, the file is
read again. What the data of a running study hold is kept there, too, so that its jobs plan with what it began with.
"""

import errno
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import xxhash

from selfloop.checksums import measured
from selfloop.data.atomic import atomic_file
from selfloop.errors import UserError
from selfloop.numbers import size

FILES = Path(".snakemake/selfloop-files.json")  # digests of files
BEGUN = Path(".snakemake/selfloop-data.json")  # digests of what the data sections of a running study read
SETTLED = 2_000_000_000  # nanoseconds; a file changed within them may change again without another time
QUIET = 3.0  # seconds of reading before the first line about it, and between two lines


class Contents:
    """What data sections read, by digest.

    Args:
        in_job: whether this process runs a job of a study, whose data files hold what they held when it began.
    """

    def __init__(self, in_job: bool = False) -> None:
        self._begun = _kept(BEGUN) if in_job else {}
        self._found: dict[str, str | None] = {}
        self._copies: dict[str, list[tuple[str, str]]] = {}
        self._files: dict[str, object] | None = None
        self._changed = False
        self._read = 0
        self._next = 0.0

    def read_by(self, section: str, files: Callable[[], Sequence[str]]) -> str | None:
        """The digest of what a data section reads, by the digest of its settings; None if it reads no file.

        Raises:
            UserError: a file changes while it is read.
        """
        if section in self._begun:
            begun = self._begun[section]
            return None if begun is None else str(begun)
        if section not in self._found:
            names = files()
            digests = self._digests(names)
            self._found[section] = _total(names, digests) if names else None
            first = {digest: name for name, digest in zip(reversed(names), reversed(digests), strict=True)}
            pairs = ((name, first[digest]) for name, digest in zip(names, digests, strict=True))
            self._copies[section] = [(name, other) for name, other in pairs if name != other and _has_bytes(name)]
        return self._found[section]

    def copies(self, section: str) -> list[tuple[str, str]]:
        """Of the files that a section reads, those that hold the same as an earlier one, each with that one."""
        return self._copies.get(section, [])

    def of(self, files: Iterable[str]) -> str:
        """One digest of files and their names, in their order. One that cannot be read is left to its reader to name.

        Raises:
            UserError: one changes while it is read.
        """
        names = list(files)
        return _total(names, self._digests(names))

    def _digests(self, names: Sequence[str]) -> list[str]:
        self._next = time.monotonic() + QUIET
        return [self._of_file(name) for name in names]

    def keep(self) -> None:
        """Keep the digests of files for the next time, where that is possible."""
        if self._changed:
            _keep(FILES, self._files or {})

    def _of_file(self, name: str) -> str:
        if self._files is None:
            self._files = _kept(FILES)
        place = os.path.abspath(name)
        try:
            before = _look(place)
            known = self._files.get(place)
            if isinstance(known, list) and known[:-1] == before:
                return str(known[-1])
            digest = self._digest(place)
            if _look(place) != before:
                raise UserError(f"'{name}' changes while it is read; wait until it is complete.")
        except OSError as error:
            return str(error.strerror)
        if time.time_ns() - before[-1] > SETTLED:
            self._files[place] = [*before, digest]
            self._changed = True
        return digest

    def _digest(self, place: str) -> str:
        def advance(count: int) -> None:
            self._read += count
            if time.monotonic() > self._next:
                what = f"reads the data files to see whether they have changed, {size(self._read)} so far: {place}"
                print(f"selfloop: {what}", file=sys.stderr)
                self._next = time.monotonic() + QUIET

        return measured(Path(place), advance).checksum


def _total(names: Sequence[str], digests: Sequence[str]) -> str:
    total = xxhash.xxh3_128()
    for name, digest in zip(names, digests, strict=True):
        total.update(os.fsencode(f"{name}\0{digest}\0"))
    return str(total.hexdigest())


def _has_bytes(name: str) -> bool:
    with suppress(OSError):
        return os.path.getsize(name) > 0
    return False


def _look(place: str) -> list[int]:
    """Size, inode and times of a regular file.

    Raises:
        OSError: it is something else, or not there.
    """
    found = os.stat(place)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def promise(read: Mapping[str, str | None]) -> None:
    """Let the jobs of a study that begins plan with what its data sections read, by the digest of their settings."""
    _keep(BEGUN, read)


@contextmanager
def unchanged(
    contents: str | None, files: Callable[[], Sequence[str]], what: str = "the data files have"
) -> Iterator[None]:
    """A block that reads the user's files, which hold what they held when the study was planned.

    Args:
        contents: the digest of what they held, or None if no file is read.
        files: their paths.
        what: they are, with the verb.

    Raises:
        UserError: they hold something else, at the beginning or the end of the block.
    """

    def check() -> None:
        if contents is not None and Contents().of(files()) != contents:
            raise UserError(f"{what} changed since the study was planned; type the same command again.")

    check()
    yield
    check()


def _kept(path: Path) -> dict[str, object]:
    with suppress(OSError, ValueError):
        held = json.loads(path.read_bytes())
        if isinstance(held, dict):
            return held
    return {}


def _keep(path: Path, held: Mapping[str, object]) -> None:
    with suppress(OSError, UnicodeError), atomic_file(path, checksum=False) as scratch:
        scratch.write_text(json.dumps(held), encoding="utf-8")
