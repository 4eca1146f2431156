"""One Snakemake per folder, and no stale locks after a kill.

Nobody removes Snakemake's own lock files after a `kill -9`. So a running Snakemake also holds a lock that the kernel
releases with the process, on a file that names the holder; Snakemake's locks without it are stale and are cleared. If
the file names another machine, nothing is cleared: not every file system shares such locks between machines.
"""

import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfloop.errors import UserError
from selfloop.jobs.locks import lock

FILE = ".snakemake/selfloop.lock"
LOCKS = ".snakemake/locks"
PATIENCE = 3.0  # seconds; longer than another process needs to look at the lock

_held: list[int] = []  # a lock lives as long as its descriptor is open


def clear_stale_locks(folder: Path = Path()) -> None:
    """Remove Snakemake's locks in `folder` if their Snakemake was killed."""
    with _opened(folder) as descriptor:
        locks = folder / LOCKS
        if descriptor is None or not _try_lock(descriptor) or not locks.exists() or not any(locks.iterdir()):
            return
        holder = _holder(descriptor)
        if holder.get("host") == socket.gethostname():
            shutil.rmtree(locks)
            who = f"process {holder['process']}, which worked in this folder, was killed"
            print(f"selfloop: {who}; its locks are cleared.", file=sys.stderr)


def claim(folder: Path = Path()) -> None:
    """Hold `folder` until `release` or the end of this process.

    Raises:
        UserError: another Snakemake holds it, or it is not writable.
    """
    descriptor = _open(folder)
    if descriptor is None:
        raise UserError(f"{folder.resolve()}: its folder .snakemake cannot be written to. Run in a folder of your own.")
    deadline = time.monotonic() + PATIENCE
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            os.close(descriptor)
            raise UserError(refusal(folder))
        time.sleep(0.05)
    me = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(me).encode(), 0)
    _held.append(descriptor)


def release() -> None:
    """Release what `claim` holds."""
    while _held:
        descriptor = _held.pop()
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def is_held(folder: Path = Path()) -> bool:
    """Whether a process holds `folder`."""
    with _opened(folder) as descriptor:
        return descriptor is not None and not _try_lock(descriptor)


def refusal(folder: Path = Path()) -> str:
    """Why a second Snakemake is refused in `folder`, and what to do."""
    with _opened(folder) as descriptor:
        holder = {} if descriptor is None else _holder(descriptor)
    who = f"process {holder['process']} on {holder['host']} since {holder['since']}" if holder else "another process"
    if not is_held(folder):
        return (
            f"a Snakemake has left this folder locked, {folder.resolve()} ({who}). If it has ended: snakemake --unlock"
        )
    return (
        f"another Snakemake works in this folder, {folder.resolve()} ({who}). Wait for it, or stop it with Ctrl-C; to "
        "run a second study at the same time, use another folder."
    )


def _open(folder: Path) -> int | None:
    path = folder / FILE
    try:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    descriptor = _open(folder)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        return lock(descriptor)
    except OSError:  # the file system does not support locks: Snakemake's own remain
        return True


def _holder(descriptor: int) -> dict[str, str | int]:
    try:
        holder: dict[str, str | int] = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:  # empty after an orderly end, or torn by a kill
        return {}
    return holder
