"""Who may talk to the preloaded process, and what happens where it cannot serve; the rest is in tests/workflow."""

import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from selfloop.jobs import forkserver
from selfloop.jobs.spec import JobSpec

SPEC = JobSpec("probe", "probe", "/", {}, {}, {}, 1, 0, 1, 60.0, "probe.log", 0.0)


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A listening socket at which a step expects its server; its path is longer than an address may be."""
    path = tmp_path / ("x" * 100) / "some.socket"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as opened:
        with forkserver._address(path) as address:
            opened.bind(address)
        opened.listen(1)
        monkeypatch.setenv(forkserver.VARIABLE, str(path))
        monkeypatch.setenv(forkserver.PYTHON, sys.prefix)
        yield opened


def test_a_server_of_another_user_gets_nothing(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "_user", lambda client: os.getuid() + 1)
    assert forkserver.run_in_fork(SPEC) is None
    with listener.accept()[0] as client:
        assert client.recv(1) == b""


def test_without_memory_for_a_fork_the_server_says_so_and_goes_on(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(os, "fork", fork)

    def serve() -> None:
        with listener.accept()[0] as client:
            forkserver._fork(listener, client, [])

    server = threading.Thread(target=serve)
    server.start()
    assert forkserver.run_in_fork(SPEC) is None
    server.join()


def test_a_fork_begins_only_when_its_step_still_waits() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    socket.send_fds(here, [b"1"], [1, 2])
    with Connection(here.detach()) as connection:
        forkserver._send(connection, {"job": {**SPEC.__dict__}, "environment": {}})
        pid = os.fork()
        if pid == 0:
            connection.close()
            forkserver._work(there, [])
        there.close()
        assert forkserver._receive(connection) == pid
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == forkserver.NOT_BEGUN


@pytest.mark.usefixtures("listener")
def test_sockets_of_killed_snakemakes_are_removed_and_living_ones_stay() -> None:
    folder = Path(os.environ[forkserver.VARIABLE]).parent
    for name in ("dead.socket", "young.socket"):
        with socket.socket(socket.AF_UNIX) as opened, forkserver._address(folder / name) as address:
            opened.bind(address)
    for name in ("dead.socket", "some.socket"):
        os.utime(folder / name, (0, 0))
    forkserver._remove_leftovers(folder)
    assert {path.name for path in folder.iterdir()} == {"some.socket", "young.socket"}
