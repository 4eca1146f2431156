"""What checking artifacts costs: bytes per second, small files, and the share of a finished study's trainings.

    python benchmarks/verify.py [RESULTS]

Files are in the page cache, as those of a step that has just ended; the first reading of a disk is the disk's.
"""

import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from selfloop.data.atomic import atomic_file, atomic_folder
from selfloop.jobs.damage import check
from selfloop.jobs.record import last_attempt, recorded_logs

SHARDS, SHARD_BYTES = 8, 2**27
SMALL = 10_000


def seconds(artifacts: Iterable[Path]) -> float:
    """The time of one check."""
    began = time.perf_counter()
    check(artifacts)
    return time.perf_counter() - began


def large(folder: Path) -> None:
    """A data set of 1 GiB."""
    block = bytes(range(256)) * (SHARD_BYTES // 256)
    began = time.perf_counter()
    with atomic_folder(folder / "part") as scratch:
        for number in range(SHARDS):
            (scratch / f"shard-{number:05d}.parquet").write_bytes(block)
    wrote, read = time.perf_counter() - began, seconds([folder / "part"])
    total = SHARDS * SHARD_BYTES
    print(f"a data set of {total / 1e9:.2f} GB: written and recorded in {wrote:.2f} s, ", end="")
    print(f"checked in {read:.2f} s, {total / read / 1e9:.1f} GB/s")


def small(folder: Path) -> None:
    """The measurements that collect_metrics reads, of a large study."""
    paths = [folder / f"{number}" / "measurements.json" for number in range(SMALL)]
    for path in paths:
        with atomic_file(path) as scratch:
            scratch.write_bytes(bytes(1000))
    print(f"{SMALL:,} files of measurements: checked in {seconds(paths):.2f} s")


def trainings(results: Path) -> None:
    """The share of the check in the work of all trainings below a results folder."""
    work = checked = 0.0
    logs = recorded_logs(results / "logs" / "train")
    for log in logs:
        attempt = last_attempt(log)
        model = results / "models" / log.relative_to(results / "logs" / "train").with_suffix("")
        if attempt is not None and attempt.done is not None and (model / "training-set").exists():
            work += attempt.done.work
            checked += seconds([model / "training-set"])
    if work:
        print(f"{results}: training sets of {len(logs)} trainings checked in {checked:.2f} s, ", end="")
        print(f"{100 * checked / work:.2f}% of {work:.0f} s of training")


def main() -> None:
    """Print all three."""
    with tempfile.TemporaryDirectory() as name:
        large(Path(name))
        small(Path(name))
    for folder in sys.argv[1:]:
        trainings(Path(folder).resolve())


if __name__ == "__main__":
    main()
