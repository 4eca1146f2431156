"""One Snakemake per folder and per results, and no stale locks after a kill.

Nobody removes Snakemake's own lock files after a `kill -9`. So a running Snakemake also holds locks that the kernel
releases with the process, on files that name the holder; Snakemake's locks without them are stale and are cleared. If
the file names another machine, nothing is cleared: not every file system shares such locks between machines.

One file lies in the folder. Others lie where results really are, since two folders may share them by links.

Where the file system has no such locks, or says that it locks and does not, Snakemake's own stay, and a file's holder
counts as alive while there is such a process on its machine.
"""

import json
import os
import shutil
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from selfloop.errors import UserError
from selfloop.jobs.system_errors import advice
from selfloop.planning.paths import RESULTS
from selfloop.processes.locks import lock

FILE = ".snakemake/selfloop.lock"
SHARED = ".selfloop.lock"  # in a folder of results
LOCKS = ".snakemake/locks"
PATIENCE = 3.0  # seconds; longer than another process needs to look at the lock

_held: list[int] = []  # a lock lives as long as its descriptor is open


def clear_stale_locks(folder: Path = Path()) -> None:
    """Remove Snakemake's locks in `folder` if their Snakemake was killed."""
    descriptor = _open(folder / FILE)
    if descriptor is None:
        return
    try:
        locks = folder / LOCKS
        if not _try_lock(descriptor, folder / FILE) or not locks.exists() or not any(locks.iterdir()):
            return
        holder = _holder(descriptor)
        if holder.get("host") == socket.gethostname():
            shutil.rmtree(locks)
            who = f"process {holder['process']}, which worked in this folder, was killed"
            print(f"selfloop: {who}; its locks are cleared.", file=sys.stderr)
    finally:
        os.close(descriptor)


def claim(folder: Path = Path()) -> None:
    """Hold `folder` and its results until `release` or the end of this process.

    Raises:
        UserError: another Snakemake holds them, or the folder is not writable.
    """
    deadline = time.monotonic() + PATIENCE
    said: str | None = None
    for path in _files(folder):
        descriptor = _open(path)
        if descriptor is None:
            if path != folder / FILE:  # results that cannot be written to are another message
                continue
            where = folder.resolve()
            raise UserError(f"{where}: its folder .snakemake cannot be written to. Run in a folder of your own.")
        while (locked := _try_lock(descriptor, path)) is False or (locked is None and _lives(descriptor) is not False):
            if time.monotonic() > deadline:
                os.close(descriptor)
                release()
                raise UserError(refusal(folder))
            time.sleep(0.05)
        if locked is None and said is None:
            said = "file locks do not work here. After a kill, Snakemake's own stay; then: snakemake --unlock"
            print(f"selfloop: {path.parent.resolve()}: {said}", file=sys.stderr)
        _held.append(descriptor)
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_me(folder)).encode(), 0)
        except OSError as error:  # a full disk
            raise UserError(f"{path.parent}: {advice(error) or error}") from None


def release() -> None:
    """Release what `claim` holds."""
    while _held:
        descriptor = _held.pop()
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def is_held(folder: Path = Path()) -> bool:
    """Whether a process is known to hold `folder` or its results."""
    return _taken(folder) is not None


def forget(folder: Path = Path()) -> None:
    """Forget holders that have ended, at `snakemake --unlock`; only needed where locks do not work."""
    for path in _files(folder):
        if (descriptor := _open(path)) is not None:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)


def locks_work(folder: Path = Path()) -> bool:
    """Whether the kernel's locks work in the results of `folder`, as far as this process can tell."""
    path = _files(folder)[1]
    descriptor = _open(path)
    if descriptor is None:
        return False
    try:
        return _try_lock(descriptor, path) is not None
    finally:
        os.close(descriptor)


def refusal(folder: Path = Path()) -> str:
    """Why a second Snakemake is refused in `folder`, and what to do."""
    path = _taken(folder)
    holders = [_read(place) for place in ([path] if path else _files(folder))]
    holder = next(filter(None, holders), {})
    who = f"process {holder['process']} on {holder['host']} since {holder['since']}" if holder else "another process"
    if path is None:
        return (
            f"a Snakemake has left this folder locked, {folder.resolve()} ({who}). If it has ended: snakemake --unlock"
        )
    where = f"in this folder, {folder.resolve()} ({who})"
    if path != folder / FILE:
        where = f"on the same results, {path.parent} ({who}, in {holder.get('folder', 'another folder')})"
    return (
        f"another Snakemake works {where}. Wait for it, or stop it with Ctrl-C; to run a second study at the same "
        "time, use another folder."
    )


def _files(folder: Path) -> list[Path]:
    """The files to lock: that of the folder, that of its results, those of results that are links to elsewhere."""
    results = folder / RESULTS
    places = [Path(os.path.realpath(results))]
    for path in sorted(results.glob("*")):
        if path.is_symlink() and path.is_dir():
            real = Path(os.path.realpath(path))
            # It may lie in another folder's results, and that folder's Snakemake locks these as a whole.
            places += [real, real.parent] if (real.parent / SHARED).exists() else [real]
    return [folder / FILE, *(place / SHARED for place in dict.fromkeys(places))]


def _taken(folder: Path) -> Path | None:
    """The first file that a process is known to hold."""
    for path in _files(folder):
        if (descriptor := _open(path)) is not None:
            try:
                locked = _try_lock(descriptor, path)
                if locked is False or (locked is None and _lives(descriptor)):
                    return path
            finally:
                os.close(descriptor)
    return None


def _open(path: Path) -> int | None:
    try:
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None


def _try_lock(descriptor: int, path: Path) -> bool | None:
    """Lock the open file at `path`: whether it succeeded; None if locks do not work there."""
    try:
        if not lock(descriptor):
            return False
        second = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return None if lock(second) else True  # it must be refused
        finally:
            os.close(second)
    except OSError:
        return None


def _me(folder: Path) -> dict[str, str | int]:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    where = str(folder.resolve())
    return {"process": os.getpid(), "host": socket.gethostname(), "since": since, "folder": where}


def _lives(descriptor: int) -> bool | None:
    """Whether the holder of an open file lives; None if it is on another machine."""
    import psutil

    holder = _holder(descriptor)
    if not holder:
        return False
    if holder["host"] != socket.gethostname():
        return None
    with suppress(psutil.Error, ValueError):
        process = psutil.Process(int(holder["process"]))
        since = time.mktime(time.strptime(str(holder["since"]), "%Y-%m-%d %H:%M:%S"))
        return bool(process.create_time() <= since + 1 and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _read(path: Path) -> dict[str, str | int]:
    descriptor = _open(path)
    if descriptor is None:
        return {}
    try:
        return _holder(descriptor)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> dict[str, str | int]:
    try:
        holder: dict[str, str | int] = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:  # empty after an orderly end, or torn by a kill
        return {}
    return holder
