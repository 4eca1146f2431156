"""A process that has imported torch and forks for each step, so that local steps start at once.

Importing torch takes longer than most steps of a small study, which has hundreds of them. Snakemake's main process
starts `serve` when it runs jobs on its own machine; a step's script sends its job to the socket that an environment
variable names, and waits for the exit code. Without a server (on a cluster node, or because it died), a step runs in
its script's process, with the same result.

No process outlives the others: the server dies with Snakemake, a fork dies with the server or with its script, and a
script that loses its fork fails.

Messages are JSON in the frames of `multiprocessing.connection`. Its Listener and Client are not used: clients must be
able to connect before the server has imported anything, and instead of a key the kernel tells whose process connects.
"""

import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from selfloop.jobs.processes import die_with_parent
from selfloop.jobs.spec import JobSpec
from selfloop.jobs.stopping import caught, forward, signals

VARIABLE = "SELFLOOP_PRELOAD"  # the name of the socket
PYTHON = "SELFLOOP_PRELOAD_PYTHON"  # its interpreter; a rule in another environment does not use it


def start(modules: Iterable[str]) -> "subprocess.Popen[bytes] | None":
    """Start a server that imports `modules`, for the steps that this process starts; None except on Linux."""
    if not sys.platform.startswith("linux"):
        return None
    # An abstract name, not a file: a kill leaves nothing behind. `serve` checks the user, as a file's mode would.
    name = f"selfloop-{secrets.token_hex(16)}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen(64)
    # numpy fixes its number of threads on import. For small matrices, two threads take eight times as long as one when
    # other steps run beside them.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with listener:  # the server has inherited it
        descriptor = listener.fileno()
        command = [sys.executable, "-P", "-m", __name__, str(descriptor), str(os.getpid()), *modules]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, pass_fds=[descriptor])
    os.environ[VARIABLE], os.environ[PYTHON] = name, sys.prefix
    return process


def stop(process: "subprocess.Popen[bytes] | None") -> None:
    """Stop the server."""
    if process is not None and os.environ.pop(VARIABLE, None) is not None:
        process.kill()
        process.wait()


def run_in_fork(spec: JobSpec) -> int | None:
    """Run a step in a fork of the server; returns its exit code, or None if there is no server."""
    name = os.environ.get(VARIABLE)
    if name is None or os.environ.get(PYTHON) != sys.prefix:
        return None
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(f"\0{name}")
        socket.send_fds(client, [b"1"], [1, 2])
    except OSError:
        client.close()
        return None
    with Connection(client.detach()) as connection:
        try:
            _send(connection, {"job": asdict(spec), "environment": dict(os.environ)})
            pid = _receive(connection)
        except (EOFError, OSError):
            return None

        forward(lambda number: os.kill(pid, number))
        try:
            return int(_receive(connection))
        except (EOFError, OSError):
            print(f"selfloop: {spec.rule}: its process {pid} was killed", file=sys.stderr)
            return 137


def serve(descriptor: int, parent: int, modules: Iterable[str]) -> None:
    """Fork for each request to the listening socket `descriptor`, until the process `parent` is gone."""
    die_with_parent(parent)
    listener = socket.socket(fileno=descriptor)
    # Stop signals are for the steps. The server ends after them, with Snakemake.
    stops = signals()
    for number in stops:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the forks
    for module in modules:
        __import__(module)
    while True:
        client, _ = listener.accept()
        with client:
            if _user(client) == os.getuid() and os.fork() == 0:
                listener.close()
                _work(client, stops)


def _user(client: socket.socket) -> int:
    """The user id of the process at the other end."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _work(client: socket.socket, stops: Sequence[int]) -> None:
    """The forked process: run the step and send the exit code. Does not return."""
    code = 1
    try:
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
        threading.Thread(target=_die_with_client, args=(connection.fileno(),), daemon=True).start()
        from selfloop.jobs.execution import execute

        with caught(stops):
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


def _die_with_client(descriptor: int) -> None:
    """The client sends nothing more; the end of its stream means that it died."""
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _send(connection: Connection, value: object) -> None:
    connection.send_bytes(json.dumps(value).encode())


def _receive(connection: Connection) -> Any:
    return json.loads(connection.recv_bytes())


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
