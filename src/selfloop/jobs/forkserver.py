"""A process that has imported torch and forks for each step, so that a step on this machine starts in a moment.

Importing torch takes longer than most steps of a small study, and a study has hundreds of them. Snakemake's main
process starts `serve` when it runs jobs on its own machine; a step's script sends its job to the socket named in the
environment and waits for the exit code. A step that finds no such process (on a cluster's node, or because the process
died) runs where it is, and gives the same bytes.

Nobody outlives anybody: the server dies with Snakemake, a fork dies with the server or with the script that asked for
it, and a script that loses its fork fails.

Messages are JSON in the frames of `multiprocessing.connection`. Its Listener and Client are of no use: clients have to
queue before the server has imported anything, and a key would be as readable as the socket's name, whereas the system
says for sure whose process is at the other end.
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
from collections.abc import Iterable
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from selfloop.jobs.processes import die_with_parent
from selfloop.jobs.spec import JobSpec

VARIABLE = "SELFLOOP_PRELOAD"  # the socket's name
PYTHON = "SELFLOOP_PRELOAD_PYTHON"  # the interpreter behind it; a rule in another environment runs where it is


def start(modules: Iterable[str]) -> "subprocess.Popen[bytes] | None":
    """Start a server that imports `modules`, for the steps of this process's children; None where it cannot be."""
    if not sys.platform.startswith("linux"):
        return None
    # A name that is no file: it leaves nothing behind, whoever is killed. `serve` keeps out what a file's mode would.
    name = f"selfloop-{secrets.token_hex(16)}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen(64)
    # numpy settles its number of threads when it is imported, before there is a step with a number of its own. Two
    # threads for small matrices take eight times as long as one where other steps run beside them.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with listener:  # the server has a copy, and the name goes with the server
        descriptor = listener.fileno()
        command = [sys.executable, "-m", __name__, str(descriptor), str(os.getpid()), *modules]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, pass_fds=[descriptor])
    os.environ[VARIABLE], os.environ[PYTHON] = name, sys.prefix
    return process


def stop(process: "subprocess.Popen[bytes] | None") -> None:
    """End the server."""
    if process is not None and os.environ.pop(VARIABLE, None) is not None:
        process.terminate()
        process.wait()


def run_in_fork(spec: JobSpec) -> int | None:
    """Run a step in a fork of the preloaded process; its exit code, or None where there is no such process."""
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

        def forward(number: int, _: object) -> None:
            os.kill(pid, number)

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, forward)
        try:
            return int(_receive(connection))
        except (EOFError, OSError):
            print(f"selfloop: {spec.rule}: its process {pid} was killed", file=sys.stderr)
            return 137


def serve(descriptor: int, parent: int, modules: Iterable[str]) -> None:
    """Fork for each request to the listening socket `descriptor`, until the process `parent` is gone."""
    die_with_parent(parent)
    listener = socket.socket(fileno=descriptor)
    # An interrupt from the terminal is for the steps; the server ends with Snakemake.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries the forks
    for module in modules:
        __import__(module)
    while True:
        client, _ = listener.accept()
        with client:
            if _user(client) == os.getuid() and os.fork() == 0:
                listener.close()
                _work(client)


def _user(client: socket.socket) -> int:
    """The user whose process is at the other end."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])


def _work(client: socket.socket) -> None:
    """The forked side: become the step, run it, answer with the exit code. Does not return."""
    code = 1
    try:
        die_with_parent(os.getppid())
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
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
    """The client sends nothing more; the end of its stream means that it is gone."""
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _send(connection: Connection, value: Any) -> None:
    connection.send_bytes(json.dumps(value).encode())


def _receive(connection: Connection) -> Any:
    return json.loads(connection.recv_bytes())


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
