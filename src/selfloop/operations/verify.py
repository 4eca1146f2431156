"""`selfloop verify`: whether every artifact of a results folder is as it was written."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path, PurePath

from tqdm import tqdm

from selfloop.checksums import files, is_shadow, record_file
from selfloop.errors import UserError
from selfloop.jobs.damage import Check
from selfloop.numbers import size
from selfloop.planning import paths

_MODEL = "*/seed*/iteration*"
# What steps read, as patterns of paths.
KINDS = (
    *(paths.real("*/*", split) for split in ("train", "test", "validation", "reserve")),
    paths.tokenizer("*", "*"),
    paths.baseline("*/*", "*"),
    paths.training_set(_MODEL),
    paths.checkpoint(_MODEL),
    paths.learning_curve(_MODEL),
    paths.model_measurements(_MODEL),
    paths.part(_MODEL, "*"),  # and its measurements
    paths.simulation("*"),
    paths.profile("*/seed*"),
    *(paths.METRICS, paths.LEARNING_CURVES, paths.PROFILE, paths.CHAINS),
)
SHOWN = (paths.FIGURES, paths.TABLES)  # where users may have files of their own


def artifacts(folder: Path) -> list[Path]:
    """The artifacts of a results folder; the folder itself, if it is one."""
    if record_file(folder).exists():
        return [folder]
    found = {path for pattern in KINDS for path in _matches(folder, pattern)}
    found |= {path for kind in SHOWN for path in _matches(folder, f"{kind}/*") if record_file(path).exists()}
    return sorted(found)


def _matches(folder: Path, pattern: str) -> Iterator[Path]:
    below = str(PurePath(pattern).relative_to(paths.RESULTS))
    return (path for path in folder.glob(below) if not is_shadow(path.name))


def verify(folder: Path) -> int:
    """Compare all artifacts and saved states below a folder with their checksums; print and count what is damaged.

    Raises:
        UserError: there is no artifact.
    """
    found = artifacts(folder)
    if not found:
        raise UserError(f"{folder} holds no artifact of a study (allowed: a folder {paths.RESULTS}, or one artifact).")
    began, damaged = time.monotonic(), 0
    with tqdm(total=sum(_sizes(found)), unit="B", unit_scale=True, disable=None, file=sys.stderr) as bar:
        done = Check(bar.update)
        for artifact in found:
            damages = list(done.damages(artifact))
            damaged += bool(damages)
            for damage in damages:
                bar.write(str(damage))
        for text in _damaged_states(folder):
            damaged += 1
            bar.write(text)
    seconds = time.monotonic() - began
    rate = f"{size(done.bytes)} in {seconds:.1f} s, {size(done.bytes / max(seconds, 1e-9))}/s"
    print(f"{len(found):,} artifacts, {done.files:,} files ({rate}): {damaged or 'none'} damaged.")
    return damaged


def _damaged_states(folder: Path) -> Iterator[str]:
    """What is wrong with the resume checkpoints of trainings and the finished slices of parts."""
    states = {
        "Its training will start from scratch.": f"{paths.state(_MODEL)}/state.safetensors",
        "It will be sampled again.": f"{paths.part_state(_MODEL, '*')}/*.safetensors",
    }
    for then, pattern in states.items():
        for path in sorted(_matches(folder, pattern)):
            from selfloop.training.saved_state import read  # imports torch, for seconds

            try:
                read(path)
            except Exception as error:
                yield f"{path} cannot be read ({type(error).__name__}: {error}). {then}"


def _sizes(found: list[Path]) -> Iterator[int]:
    """Bytes of all files, each once."""
    seen = set()
    for path in (artifact / name for artifact in found for name in files(artifact)):
        if path.exists():
            status = path.stat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                yield status.st_size
