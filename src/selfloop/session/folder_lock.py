"""One Snakemake per folder, and a folder whose Snakemake was killed is free again at once.

Snakemake's own locks are files that nobody removes after a `kill -9`. Beside them, a running Snakemake holds a lock
that the system releases with the process (flock), on a file that says who holds it. Locks that are left without it are
stale and are cleared. Where the file names another machine, nothing is cleared: not every file system carries such a
lock from one machine to another.
"""

import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

from selfloop.errors import UserError
from selfloop.jobs.locks import lock

FILE = ".snakemake/selfloop.lock"
LOCKS = ".snakemake/locks"
PATIENCE = 3.0  # seconds; longer than another process's look at the lock takes

_held: list[int] = []  # the lock lives as long as this descriptor is open


def clear_stale_locks(folder: Path = Path()) -> None:
    """Remove what a Snakemake that was killed has left locked in `folder`; nothing while another one runs there."""
    descriptor = _open(folder)
    if descriptor is None:
        return
    try:
        if not _try_lock(descriptor):
            return
        locks = folder / LOCKS
        if locks.exists() and any(locks.iterdir()):
            holder = _holder(descriptor)
            if holder.get("host") == socket.gethostname():
                shutil.rmtree(locks)
                who = f"process {holder['process']}, which worked in this folder, was killed"
                print(f"selfloop: {who}; its locks are cleared.", file=sys.stderr)
    finally:
        os.close(descriptor)


def claim(folder: Path = Path()) -> None:
    """Hold `folder` until this process ends.

    Raises:
        UserError: another Snakemake works there, or nobody may write there.
    """
    descriptor = _open(folder)
    if descriptor is None:
        raise UserError(f"{folder.resolve()}: its folder .snakemake cannot be written to. Run in a folder of your own.")
    deadline = time.monotonic() + PATIENCE
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            message = refusal(folder)
            os.close(descriptor)
            raise UserError(message)
        time.sleep(0.05)
    me = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(me).encode(), 0)
    _held.append(descriptor)


def release() -> None:
    """Give back what `claim` holds, at an orderly end."""
    while _held:
        descriptor = _held.pop()
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def is_held(folder: Path = Path()) -> bool:
    """Whether a process holds `folder`."""
    descriptor = _open(folder)
    if descriptor is None:
        return False
    free = _try_lock(descriptor)
    os.close(descriptor)
    return not free


def refusal(folder: Path = Path()) -> str:
    """Why a second Snakemake may not work in `folder`, and what to do."""
    descriptor = _open(folder)
    holder = {} if descriptor is None else _holder(descriptor)
    free = not is_held(folder)
    if descriptor is not None:
        os.close(descriptor)
    who = f"process {holder['process']} on {holder['host']} since {holder['since']}" if holder else "another process"
    if free:
        return (
            f"a Snakemake has left this folder locked, {folder.resolve()} ({who}). If it is no more: snakemake --unlock"
        )
    return (
        f"another Snakemake works in this folder, {folder.resolve()} ({who}). Wait for its end, or stop it with "
        "Ctrl-C; a second study at the same time needs a folder of its own."
    )


def _open(folder: Path) -> int | None:
    path = folder / FILE
    try:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None


def _try_lock(descriptor: int) -> bool:
    try:
        return lock(descriptor)
    except OSError:  # a file system without locks: Snakemake's own remain
        return True


def _holder(descriptor: int) -> dict[str, Any]:
    text = os.pread(descriptor, 4096, 0)
    try:
        holder: dict[str, Any] = json.loads(text)
    except ValueError:  # empty after an orderly end, or cut off by a kill
        return {}
    return holder
