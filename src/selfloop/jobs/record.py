"""A step's record: JSON lines beside its log, one file for all attempts.

Logs are prose for people. Code that wants to know how far a step is, how long it took, how much it did, where it ran or
why it failed reads its record. Snakemake deletes a log before a retry, but does not know about this file.

The record is also the step's lock: on a cluster, a step of a killed Snakemake may still run when the next Snakemake
asks for the same outputs.
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

from selfloop.jobs.device import Device
from selfloop.processes.gpus import VISIBLE
from selfloop.processes.locks import lock

SUFFIX = ".jsonl"
PROGRESS_SECONDS = 5.0  # between progress events, or 1% of the time so far if that is longer: files stay short


@dataclass(frozen=True)
class Begin:
    """An attempt begins; `gpus` as in CUDA_VISIBLE_DEVICES, `time` in seconds since the epoch."""

    rule: str
    machine: str
    slurm_job: str | None
    gpus: str | None
    pid: int
    time: float

    @property
    def place(self) -> str:
        """Where it runs, for people."""
        job = self.slurm_job and f"SLURM job {self.slurm_job}"
        return ", ".join(filter(None, [self.machine, job, self.gpus and f"GPU {self.gpus}"]))


@dataclass(frozen=True)
class Progress:
    """`done` of `total` after starting (or resuming) at `first`; None where unknown."""

    done: float
    total: float | None
    first: float
    seconds_left: float | None


@dataclass(frozen=True)
class Amount:
    """Units (such as tokens) trained or sampled, and the seconds that took; None: the step's whole work."""

    count: float
    unit: str
    seconds: float | None


@dataclass(frozen=True)
class Done:
    """An attempt succeeded: its seconds of work and of start-up."""

    work: float
    start_up: float
    time: float


@dataclass(frozen=True)
class Failed:
    """An attempt raised an exception of this type."""

    type: str
    message: str
    time: float


Event = Begin | Device | Progress | Amount | Done | Failed
_KINDS = (Begin, Device, Progress, Amount, Done, Failed)
_EVENTS: dict[str, type[Event]] = {kind.__name__.lower(): kind for kind in _KINDS}


@dataclass
class Attempt:
    """The events of one attempt; without `done` or `failed`, it still runs or was killed."""

    begin: Begin
    device: Device | None = None
    progress: Progress | None = None
    amounts: list[Amount] = field(default_factory=list)
    done: Done | None = None
    failed: Failed | None = None


class Record:
    """The record of the step with the log `log`, open for appending; unless it `writes`, all methods do nothing."""

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
        """Wait for the step's lock, hold it until the record is closed, and append a `Begin`."""
        if self._descriptor is not None:
            _hold(self._descriptor, log)
        self._began = time.time()
        machine = os.environ.get("SLURMD_NODENAME") or platform.node()
        job, gpus = os.environ.get("SLURM_JOB_ID"), os.environ.get(VISIBLE)
        event = Begin(rule, machine, job, gpus or None, os.getpid(), self._began)
        self._write(event)
        return event

    def device(self, device: Device) -> None:
        """Append a `Device`."""
        self._write(device)

    def progress(self, done: float, total: float | None, first: float, seconds_left: float | None) -> None:
        """Append a `Progress`, unless the last one is recent."""
        now = time.time()
        if now - self._noted >= max(PROGRESS_SECONDS, (now - self._began) / 100):
            self._noted = now
            self._write(Progress(done, total, first, seconds_left))

    def did(self, count: float, unit: str, seconds: float | None = None) -> None:
        """Append an `Amount`."""
        self._write(Amount(count, unit, seconds))

    def done(self, work: float, start_up: float) -> None:
        """Append a `Done`."""
        self._write(Done(work, start_up, time.time()))

    def failed(self, error: BaseException) -> None:
        """Append a `Failed`."""
        self._write(Failed(type(error).__name__, str(error), time.time()))

    def _write(self, event: Event) -> None:
        """Append one line by a single system call, so that lines of two processes never mix."""
        if self._descriptor is None:
            return
        line = json.dumps({"event": type(event).__name__.lower(), **asdict(event)}).encode() + b"\n"
        with suppress(OSError):  # the step itself reports a full disk
            size = os.fstat(self._descriptor).st_size
            torn = size and os.pread(self._descriptor, 1, size - 1) != b"\n"  # by a kill in the middle of a write
            os.write(self._descriptor, b"\n" + line if torn else line)


def _hold(descriptor: int, log: logging.Logger) -> None:
    try:
        if lock(descriptor):
            return
        time.sleep(0.5)  # someone may just be checking whether the step runs
        if not lock(descriptor):
            log.warning("another process still runs this step; waiting for it to end")
            lock(descriptor, wait=True)
    except OSError as error:
        log.warning("no file locks here (%s); nothing prevents a second process from running this step", error)


def is_running(log: Path) -> bool:
    """Whether a process runs the step with this log."""
    try:
        with _file(log).open("rb") as file:
            return not lock(file.fileno(), shared=True)
    except OSError:
        return False


def attempts(log: Path) -> list[Attempt]:
    """All attempts at the step with this log, by its record; empty if there is none."""
    found: list[Attempt] = []
    for event in _events(_file(log)):
        if isinstance(event, Begin):
            found.append(Attempt(event))
        elif found and isinstance(event, Amount):
            found[-1].amounts.append(event)
        elif found:
            setattr(found[-1], type(event).__name__.lower(), event)
    return found


def last_attempt(log: Path) -> Attempt | None:
    """The last attempt at the step with this log, if any."""
    return next(reversed(attempts(log)), None)


def recorded_logs(folder: Path) -> list[Path]:
    """The logs of all steps that have a record below a folder."""
    return [path.with_suffix(".log") for path in sorted(folder.rglob(f"*{SUFFIX}"))]


def failed_steps(folder: Path, since: float = 0.0) -> dict[Path, Attempt]:
    """By log, the last attempts since a time that neither succeeded nor still run."""
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
        except (ValueError, KeyError, TypeError, AttributeError):  # torn by a kill or a full disk
            continue
