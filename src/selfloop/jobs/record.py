"""The record of a step: lines of JSON beside its log, one file for all attempts.

Logs are prose for people. Whoever wants to know how far a step is, how long it took, how much it did, where it ran or
why it failed reads its record. Snakemake deletes a log before it tries again, and does not know of this file.

The record is also the lock of its step: where Snakemake was killed on another machine, a step may still run whose
outputs the next Snakemake asks for.
"""

import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from selfloop.jobs.gpus import VISIBLE
from selfloop.jobs.locks import lock

SUFFIX = ".jsonl"
PROGRESS_SECONDS = 5.0  # between two notes of progress, and at most a hundredth of the time so far: files stay short


@dataclass(frozen=True)
class Begin:
    """An attempt begins: at `time`, as the process `pid`; on a SLURM node with its job, and with GPUs if it has any."""

    rule: str
    machine: str
    slurm_job: str | None
    gpus: str | None
    pid: int
    time: float

    @property
    def place(self) -> str:
        """Where it runs, in words."""
        job = self.slurm_job and f"SLURM job {self.slurm_job}"
        return ", ".join(filter(None, [self.machine, job, self.gpus and f"GPU {self.gpus}"]))


@dataclass(frozen=True)
class Progress:
    """How far an attempt is: `done` of `total`, after it began (or resumed) at `first`; None where that is unknown."""

    done: float
    total: float | None
    first: float
    seconds_left: float | None


@dataclass(frozen=True)
class Amount:
    """So many units, such as tokens, were trained or sampled in so many seconds; None: in all of the step's work."""

    count: float
    unit: str
    seconds: float | None


@dataclass(frozen=True)
class Done:
    """The end of an attempt that succeeded: seconds of work, and of start-up before it."""

    work: float
    start_up: float
    time: float


@dataclass(frozen=True)
class Failed:
    """The end of an attempt that raised an exception of this type."""

    type: str
    message: str
    time: float


Event = Begin | Progress | Amount | Done | Failed
_EVENTS: dict[str, type[Event]] = {kind.__name__.lower(): kind for kind in (Begin, Progress, Amount, Done, Failed)}


@dataclass
class Attempt:
    """What a record says of one attempt; one without an end still runs or was killed."""

    begin: Begin
    progress: Progress | None = None
    amounts: list[Amount] = field(default_factory=list)
    done: Done | None = None
    failed: Failed | None = None


class Record:
    """The record of the step with the log `log`, open to append to; with `writes` False, it does nothing."""

    def __init__(self, log: Path, writes: bool = True) -> None:
        self._descriptor: int | None = None
        self._began = self._noted = 0.0
        if writes:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(_file(log), os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def begin(self, rule: str, log: logging.Logger) -> Begin:
        """Hold the step's lock until the record is closed or this process ends; wait while another one holds it."""
        if self._descriptor is not None:
            _hold(self._descriptor, log)
        self._began = time.time()
        machine = os.environ.get("SLURMD_NODENAME") or platform.node()
        job, gpus = os.environ.get("SLURM_JOB_ID"), os.environ.get(VISIBLE)
        event = Begin(rule, machine, job, gpus or None, os.getpid(), self._began)
        self._write(event)
        return event

    def progress(self, done: float, total: float | None, first: float, seconds_left: float | None) -> None:
        """Note how far the step is, unless that was noted a moment ago."""
        now = time.time()
        if now - self._noted >= max(PROGRESS_SECONDS, (now - self._began) / 100):
            self._noted = now
            self._write(Progress(done, total, first, seconds_left))

    def did(self, count: float, unit: str, seconds: float | None = None) -> None:
        """Note how much was trained or sampled in how many seconds, by default those of the step's whole work."""
        self._write(Amount(count, unit, seconds))

    def done(self, work: float, start_up: float) -> None:
        """Note the end."""
        self._write(Done(work, start_up, time.time()))

    def failed(self, error: BaseException) -> None:
        """Note the exception that ended the step."""
        self._write(Failed(type(error).__name__, str(error), time.time()))

    def _write(self, event: Event) -> None:
        """Append one line, with a single call: no other process's line can come between."""
        if self._descriptor is None:
            return
        line = json.dumps({"event": type(event).__name__.lower(), **asdict(event)}).encode() + b"\n"
        with suppress(OSError):  # on a full disk the step's own error is the message
            size = os.fstat(self._descriptor).st_size
            torn = size and os.pread(self._descriptor, 1, size - 1) != b"\n"  # by a kill in the middle of a line
            os.write(self._descriptor, b"\n" + line if torn else line)


def _hold(descriptor: int, log: logging.Logger) -> None:
    try:
        if lock(descriptor):
            return
        time.sleep(0.5)  # somebody may just be looking whether the step runs
        if not lock(descriptor):
            log.warning("another process still does this step; waiting for its end")
            lock(descriptor, wait=True)
    except OSError as error:
        log.warning("no file locks here (%s); nothing keeps a second process from doing this step", error)


def is_running(log: Path) -> bool:
    """Whether a process does the step with this log."""
    try:
        with _file(log).open("rb") as file:
            return not lock(file.fileno(), shared=True)
    except OSError:
        return False


def attempts(log: Path) -> list[Attempt]:
    """What the record of the step with this log says, attempt by attempt; nothing where there is none."""
    found: list[Attempt] = []
    for event in _events(_file(log)):
        match event:
            case Begin():
                found.append(Attempt(event))
            case Amount() if found:
                found[-1].amounts.append(event)
            case Progress() if found:
                found[-1].progress = event
            case Done() if found:
                found[-1].done = event
            case Failed() if found:
                found[-1].failed = event
    return found


def last_attempt(log: Path) -> Attempt | None:
    """The last attempt of the step with this log, if there was one."""
    return next(reversed(attempts(log)), None)


def recorded_logs(folder: Path) -> list[Path]:
    """The logs below a folder whose steps have a record."""
    return [path.with_suffix(".log") for path in sorted(folder.rglob(f"*{SUFFIX}"))]


def failed_steps(folder: Path, since: float = 0.0) -> dict[Path, Attempt]:
    """By log, the last attempts that began after `since`, did not come to their end and do not run any more."""
    last = {log: last_attempt(log) for log in recorded_logs(folder)}
    return {
        log: attempt
        for log, attempt in last.items()
        if attempt is not None and attempt.begin.time >= since and attempt.done is None and not is_running(log)
    }


def _file(log: Path) -> Path:
    return log.with_suffix(SUFFIX)


def _events(path: Path) -> Iterator[Event]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        try:
            values = json.loads(line)
            yield _EVENTS[values.pop("event")](**values)
        except (ValueError, KeyError, TypeError, AttributeError):  # cut off by a kill or a full disk
            continue
