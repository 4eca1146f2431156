"""A step ends with those who asked for it, and never does the work of another one that still runs.

A killed Snakemake cannot end its jobs. A job that went on alone would write where the next Snakemake's job for the same
outputs writes. So a step's process dies with the shell that Snakemake started it from, and with Snakemake itself.
Where neither can be seen (a cluster's node that lost its controller), a lock remains: a step locks its log, and one
that finds it locked waits.
"""

import ctypes
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

VARIABLE = "SELFLOOP_SNAKEMAKE"  # process id and start time of the Snakemake that runs steps on this machine
PR_SET_PDEATHSIG = 1


def announce() -> None:
    """Tell the steps of this process's children whose end is theirs."""
    os.environ[VARIABLE] = f"{os.getpid()} {_started(os.getpid())}"


def end_with_others() -> None:
    """Let this process be killed when the process that started it ends, or the Snakemake that announced itself."""
    if not sys.platform.startswith("linux"):
        return
    die_with_parent(os.getppid())
    if VARIABLE in os.environ:
        pid, started = os.environ[VARIABLE].split()
        threading.Thread(target=_watch, args=(int(pid), started), daemon=True).start()


def die_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent, the process `parent`, ends."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


def _watch(pid: int, started: str) -> None:
    while _started(pid) == started:
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)


def _started(pid: int) -> str:
    """When a process started, in the system's ticks; empty when it is no more. A process id alone may be used again."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]  # dead, but not yet buried
    except (OSError, IndexError):
        return ""


def history(log: Path) -> Path:
    """The file that a step's log is another name of. Snakemake deletes logs when it tries again; this one stays."""
    return log.with_name(f".{log.name}.attempts")


def open_log(log: Path) -> IO[str]:
    """A step's log, to append to; it holds all attempts."""
    log.parent.mkdir(parents=True, exist_ok=True)
    kept = history(log)
    file = kept.open("a", encoding="utf-8")
    if not log.exists():
        with suppress(FileExistsError):  # another process of the same step was faster
            try:
                log.hardlink_to(kept)
            except OSError:  # a file system without hard links
                log.symlink_to(kept.name)
    return file


def lock_log(file: IO[str], log: logging.Logger) -> None:
    """Hold the lock of a step's log until this process ends; wait while another process does the same step."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        time.sleep(0.5)  # somebody may just be looking whether the step runs
    except OSError as error:
        log.warning("this file system has no locks (%s); nothing prevents a second process from doing this step", error)
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("another process still does this step; waiting for its end")
        fcntl.flock(file, fcntl.LOCK_EX)


def is_running(log: Path) -> bool:
    """Whether a process does the step with this log."""
    try:
        with history(log).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
