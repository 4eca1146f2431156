"""Every way to damage every artifact of a finished study."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from selfloop.checksums import files, record_file
from selfloop.jobs.damage import Check
from selfloop.operations.verify import artifacts


def _flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[int(place * (len(content) - 1))] ^= 1
    else:
        content += b"x"
    path.write_bytes(content)


def _truncate(path: Path, share: float) -> None:
    size = path.stat().st_size
    os.truncate(path, int(share * size) if size else 1)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "first byte": lambda path: _flip(path, 0.0),
    "middle": lambda path: _flip(path, 0.5),
    "last byte": lambda path: _flip(path, 1.0),
    "half": lambda path: _truncate(path, 0.5),
    "empty": lambda path: _truncate(path, 0.0),
    "gone": lambda path: path.unlink(),
}


def unnoticed(results: Path) -> Iterator[str]:
    """What the check of the artifact leaves unnoticed or does not name, of all damages to each file, one at a time."""
    for artifact in artifacts(results):
        assert not list(Check().damages(artifact)), artifact
        record = record_file(artifact)
        for path in [record, *(artifact / name for name in files(artifact))]:
            target = path.resolve()
            content = target.read_bytes()
            for name, damage in DAMAGES.items():
                damage(target)
                found = [str(each) for each in Check().damages(artifact)]
                target.write_bytes(content)
                gone = name == "gone" and path == artifact  # Snakemake makes it anew before a step reads it
                # Where another size or checksum is recorded, the artifact's file is the one that seems to have changed.
                named = any(str(artifact) in each and (str(target) in each or path == record) for each in found)
                if not named and not (gone and found):
                    yield f"{path}: {name}"
        if artifact.is_dir():
            first = artifact / next(files(artifact))
            copy = first.with_name(f"{first.stem} (1){first.suffix}")
            shutil.copyfile(first, copy)
            if not any(str(copy) in str(each) for each in Check().damages(artifact)):
                yield f"{copy}: one more"
            copy.unlink()
        assert not list(Check().damages(artifact)), artifact
