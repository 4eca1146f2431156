"""What steps' logs say of their last attempt."""

from pathlib import Path

from selfloop.jobs.processes import is_running

LINES = 15
TAIL_BYTES = 20_000


def tail(path: Path, size: int = TAIL_BYTES) -> str:
    """The end of a text file; all of it, if it is short."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - size))
        return file.read().decode("utf-8", errors="replace")


def is_done(path: Path) -> bool:
    """Whether the last attempt of the step with this log came to its end."""
    begins, _, after = tail(path).rpartition(" begins\n")
    return " is done: " in (after if begins else tail(path))


def failed_steps(logs: Path, since: float) -> list[Path]:
    """Logs of the steps whose last attempt began after `since` and neither came to its end nor goes on."""
    paths = sorted(path for path in logs.rglob("*.log") if path.stat().st_mtime >= since)
    return [path for path in paths if not is_done(path) and not is_running(path)]


def last_lines(path: Path, count: int = LINES) -> str:
    """The last lines of a log; of a progress bar, which draws over itself, its last state."""
    lines = [line.rstrip().rpartition("\r")[2] for line in tail(path).split("\n")]
    kept = [line for line in lines if line][-count:]
    return "\n".join(f"    {line}" for line in kept)
