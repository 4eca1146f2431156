"""A process that has imported torch and forks for each step, so that local steps start at once.

Importing torch takes longer than most steps of a small study, which has hundreds of them. Snakemake's main process
starts `serve` when it runs jobs on its own machine; a step's script sends its job to the socket that an environment
variable names, and waits for the exit code. Without a server (on a cluster node, or because it died, is stopped or
cannot fork), a step runs in its script's process, with the same result.

No process outlives the others: the server dies with Snakemake, a fork dies with the server or with its script, and a
script that loses its fork fails. A fork begins only when its script still waits for it.

The job carries the whole environment, so the socket lies in a folder of this user's alone, and both sides ask the
kernel for the user of the other before they send anything.

Messages are JSON in the frames of `multiprocessing.connection`. Its Listener and Client are not used: clients must be
able to connect before the server has imported anything, and instead of a key the kernel tells whose process connects.
"""

import gc
import json
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from selfloop.jobs.spec import JobSpec
from selfloop.processes.lifetime import die_with_parent
from selfloop.processes.own_folder import own_folder
from selfloop.processes.stopping import caught, forward, signals

VARIABLE = "SELFLOOP_PRELOAD"  # the path of the socket
PYTHON = "SELFLOOP_PRELOAD_PYTHON"  # its interpreter; a rule in another environment does not use it
SUFFIX = ".socket"
PATIENCE = 30.0  # seconds that a step waits for its fork; importing torch from a slow disk takes that long
NOT_BEGUN = 3  # exit code of a fork that nobody waits for
YOUNG = 60.0  # seconds in which a socket that nobody listens to may still be another Snakemake's


def start(first: Iterable[str], later: Iterable[str] = ()) -> "subprocess.Popen[bytes] | None":
    """Start a server for the steps that this process starts; None except on Linux.

    Args:
        first, later: modules that it imports, before the first step and while no step begins.

    Raises:
        UserError: there is no folder for its socket.
        OSError: there can be no socket.
    """
    if not sys.platform.startswith("linux"):
        return None
    folder = own_folder()
    _remove_leftovers(folder)
    path = folder / f"{secrets.token_hex(8)}{SUFFIX}"
    listener = socket.socket(socket.AF_UNIX)
    with _address(path) as address:
        listener.bind(address)
    listener.listen(64)
    # numpy fixes its number of threads on import. For small matrices, two threads take eight times as long as one when
    # other steps run beside them.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with listener:  # the server has inherited it
        descriptor = listener.fileno()
        command = [
            sys.executable,
            "-P",
            "-m",
            __name__,
            str(descriptor),
            str(os.getpid()),
            ",".join(first),
            ",".join(later),
        ]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, pass_fds=[descriptor])
    os.environ[VARIABLE], os.environ[PYTHON] = str(path), sys.prefix
    return process


def stop(process: "subprocess.Popen[bytes] | None") -> None:
    """Stop the server."""
    if process is not None and (path := os.environ.pop(VARIABLE, None)) is not None:
        process.kill()
        process.wait()
        Path(path).unlink(missing_ok=True)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The address of a socket; paths in addresses are limited to 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _remove_leftovers(folder: Path) -> None:
    """Remove the sockets that killed Snakemakes have left."""
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as client, _address(path) as address:
            client.setblocking(False)
            try:
                client.connect(address)
            except ConnectionRefusedError:
                if time.time() - path.lstat().st_mtime > YOUNG:
                    path.unlink()


def run_in_fork(spec: JobSpec) -> int | None:
    """Run a step in a fork of the server; returns its exit code, or None if no server answers."""
    path = os.environ.get(VARIABLE)
    if path is None or os.environ.get(PYTHON) != sys.prefix:
        return None
    client = socket.socket(socket.AF_UNIX)
    # Also of `connect`: a stopped server accepts nobody.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE), 0))
    with client:
        try:
            with _address(Path(path)) as address:
                client.connect(address)
            if _user(client) != os.getuid():
                return None
            socket.send_fds(client, [b"1"], [1, 2])
            with Connection(os.dup(client.fileno())) as connection:
                return _wait_for_fork(connection, spec, Path(path))
        except OSError:
            return None


def _wait_for_fork(connection: Connection, spec: JobSpec, path: Path) -> int | None:
    try:
        _send(connection, {"job": asdict(spec), "environment": dict(os.environ)})
        if not connection.poll(PATIENCE):
            path.unlink(missing_ok=True)  # no other step waits for this server
            return None
        pid = _receive(connection)
        if pid is None:
            return None
        forward(lambda number: os.kill(pid, number))
        _send(connection, "begin")
    except (EOFError, OSError):
        return None
    try:
        return int(_receive(connection))
    except (EOFError, OSError):
        print(f"selfloop: {spec.rule}: its process {pid} was killed", file=sys.stderr)
        return 137


def serve(descriptor: int, parent: int, first: Iterable[str], later: Iterable[str]) -> None:
    """Fork for each request to the listening socket `descriptor`, until the process `parent` is gone.

    Args:
        first, later: modules to import, before the first request and while there is none.
    """
    die_with_parent(parent)
    listener = socket.socket(fileno=descriptor)
    # Stop signals are for the steps. The server ends after them, with Snakemake.
    stops = signals()
    for number in stops:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the forks
    for module in first:
        __import__(module)
    _freeze()
    pending = list(later)
    while True:
        if pending and not select.select([listener], [], [], 0)[0]:
            with suppress(Exception):  # the step that needs it says so
                __import__(pending.pop(0))
            _freeze()
            continue
        try:
            client, _ = listener.accept()
        except OSError:  # too many open files
            time.sleep(0.1)
            continue
        with client:
            if _user(client) == os.getuid():
                _fork(listener, client, stops)


def _freeze() -> None:
    """Have forks share all objects, which their garbage collections would copy."""
    gc.collect()
    gc.freeze()


def _fork(listener: socket.socket, client: socket.socket, stops: Sequence[int]) -> None:
    try:
        with warnings.catch_warnings():  # Python 3.12 warns of threads: those of libraries, which wait
            warnings.simplefilter("ignore", DeprecationWarning)
            forked = os.fork()
        if forked == 0:
            listener.close()
            _work(client, stops)
    except OSError:  # not enough memory, or too many processes
        with suppress(OSError), Connection(os.dup(client.fileno())) as connection:
            _send(connection, None)


def _user(client: socket.socket) -> int:
    """The user id of the process at the other end."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _work(client: socket.socket, stops: Sequence[int]) -> None:
    """The forked process: run the step and send the exit code. Does not return."""
    code = 1
    with caught(stops, is_last=True):
        try:
            connection, spec = _begin(client)
        except BaseException:  # the client has gone or has stopped waiting, or a stop signal arrived
            os._exit(NOT_BEGUN)
        try:
            from selfloop.jobs.execution import execute  # not needed by clients

            code = execute(spec)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            try:
                _send(connection, code)
            finally:
                os._exit(code)


def _begin(client: socket.socket) -> tuple[Connection, JobSpec]:
    """Take over the client's output, folder and environment, and get its word that it waits."""
    die_with_parent(os.getppid())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for target, descriptor in zip((1, 2), socket.recv_fds(client, 1, 2)[1], strict=True):
        os.dup2(descriptor, target)
        os.close(descriptor)
    connection = Connection(client.detach())
    request = _receive(connection)
    spec = JobSpec(**request["job"])
    os.chdir(spec.folder)
    os.environ.clear()
    os.environ.update(request["environment"])
    _send(connection, os.getpid())
    _receive(connection)
    threading.Thread(target=_die_with_client, args=(connection.fileno(),), daemon=True).start()
    return connection, spec


def _die_with_client(descriptor: int) -> None:
    """The client sends nothing more; the end of its stream means that it died."""
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _send(connection: Connection, value: object) -> None:
    connection.send_bytes(json.dumps(value).encode())


def _receive(connection: Connection) -> Any:
    return json.loads(connection.recv_bytes())


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), *(filter(None, names.split(",")) for names in sys.argv[3:]))
