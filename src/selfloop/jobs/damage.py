"""Whether artifacts are as they were written: no step reads one that has been damaged or changed since."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from selfloop.checksums import REMEDY, Entry, Unrecorded, files, measured, recorded
from selfloop.errors import UserError

SHOWN = 3  # damaged artifacts that one message names


@dataclass(frozen=True)
class Damage:
    """What is wrong with an artifact.

    Attributes:
        what: a sentence without its full stop, which names the file.
        remedy: what to do about it, a sentence.
    """

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}"


class Check:
    """Compares artifacts with their records; reads a file once, however many links lead to it.

    Args:
        advance: told the bytes that were read, as they are read.
    """

    def __init__(self, advance: Callable[[int], object] = lambda count: None) -> None:
        self.files = self.bytes = 0
        self._advance = advance
        self._measured: dict[tuple[int, int], Entry] = {}

    def damages(self, artifact: Path) -> Iterator[Damage]:
        """What is wrong with an artifact: nothing, if all its files are those that were written."""
        again = REMEDY.format(_shown(artifact))
        if not os.path.lexists(artifact):
            yield Damage(f"{artifact} is missing", "Run Snakemake again: it is made again.")
            return
        try:
            entries = recorded(artifact)
        except Unrecorded as error:
            yield Damage(str(error), again)
            return
        for name, entry in entries.items():
            path = artifact / name
            wrong = self._wrong(path, entry)
            if wrong is None:
                continue
            if not name or not path.is_symlink():
                yield Damage(f"{path} {wrong}", again)
                continue
            target = Path(os.path.realpath(path))
            owner, remedy = target.parent, again
            if owner != artifact.resolve() and owner.exists() and any(self.damages(owner)):
                remedy = f"Delete {_shown(artifact)} and {_shown(owner)} and run Snakemake again: they are made again."
            yield Damage(f"{_shown(target)}, which {path} links to, {wrong}", remedy)
        for name in files(artifact):
            if name and name not in entries:
                other = artifact / name
                yield Damage(f"{other} is not one of the files that were written there", f"Move {other} elsewhere.")

    def _wrong(self, path: Path, entry: Entry) -> str | None:
        """What is wrong with one file."""
        try:
            status = path.stat()
            if not path.is_file():
                return "is not a file"
            if status.st_size != entry.size:
                return f"has been damaged or changed: it has {status.st_size:,} bytes, and {entry.size:,} were written"
            key = status.st_dev, status.st_ino
            if key not in self._measured:
                self._measured[key] = measured(path, self._advance)
                self.files += 1
                self.bytes += status.st_size
        except (FileNotFoundError, NotADirectoryError):
            return "is missing"
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if self._measured[key] != entry:
            return "has been damaged or changed: its checksum is not that of what was written"
        return None


def check(artifacts: Iterable[str | Path]) -> Check:
    """Compare artifacts with their records.

    Raises:
        UserError: one is damaged, incomplete, changed or not recorded; the message says what to do.
    """
    done = Check()
    found = [next(done.damages(path), None) for path in map(Path, artifacts)]
    damages = [str(damage) for damage in dict.fromkeys(found) if damage is not None]
    if damages:
        rest = f" {len(damages) - SHOWN} more are damaged; selfloop verify lists them." if damages[SHOWN:] else ""
        raise UserError(" ".join(damages[:SHOWN]) + rest)
    return done


def _shown(path: Path) -> str:
    """A path as the user's working folder has it, if it lies there."""
    path = Path(os.path.abspath(path))
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
