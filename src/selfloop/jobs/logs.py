"""A step's log: prose for people, all attempts one after the other."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

LINES = 15
TAIL_BYTES = 20_000


def history(log: Path) -> Path:
    """The file behind a step's log, which is a hard link to it: Snakemake deletes the log before a retry, not this."""
    return log.with_name(f".{log.name}.attempts")


def open_log(log: Path) -> IO[str]:
    """Open a step's log for appending; it holds all attempts, or the last one where no links can be made."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = history(log)
    file = kept.open("a", encoding="utf-8")
    for link in (os.link, os.symlink):
        if not log.exists():
            with suppress(OSError):  # another process of the same step was faster, or there are no such links
                link(kept if link is os.link else kept.name, log)
    if log.exists() and log.samefile(kept):
        return file
    file.close()
    return log.open("a", encoding="utf-8")


def logger(file: IO[str], level: int) -> logging.Logger:
    """The library's logger, writing to a step's log."""
    logging.raiseExceptions = False  # on a full disk, report the step's error, not the log's
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    found = logging.getLogger("selfloop")
    found.handlers = [handler]
    found.setLevel(level)
    found.propagate = False
    return found


def last_lines(log: Path, count: int = LINES) -> str:
    """The last lines of a log; of a progress bar, only its last state."""
    with log.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    lines = [line.rstrip().rpartition("\r")[2] for line in text.split("\n")]
    kept = [line for line in lines if line][-count:]
    return "\n".join(f"    {line}" for line in kept)
