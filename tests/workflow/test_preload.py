"""The preloaded process and its forks: what they pass through, and that nobody outlives anybody."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfloop.jobs import forkserver
from selfloop.jobs.record import last_attempt
from selfloop.jobs.spec import JobSpec

from .conftest import DEADLINE, alive, environment, wait_gone, wait_until

# A step that does what the test says.
PROBE = """
import os, signal, sys
from selfloop.errors import UserError

def run(job):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    what = job.params.what
    if what == "wait":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        with open(job.output["pid"] + ".partial", "w") as file:
            file.write(str(os.getpid()))
        os.rename(job.output["pid"] + ".partial", job.output["pid"])
        while True:
            signal.pause()
    if what == "exit":
        sys.exit(3)
    if what == "user error":
        raise UserError("training.epochs: 0 is not allowed.")
    if what == "bug":
        raise KeyError("no such thing")
    print(f"torch is there: {'torch' in sys.modules}; cwd {os.getcwd()}; {os.environ['COLOUR']}")
"""
CLIENT = """
import sys
from selfloop.jobs import forkserver
from selfloop.jobs.spec import JobSpec
sys.exit(forkserver.run_in_fork(JobSpec.from_json(sys.argv[1])))
"""
IMPATIENT = """
import sys, time
from selfloop.jobs import forkserver
from selfloop.jobs.spec import JobSpec
forkserver.PATIENCE = 1.0
began = time.monotonic()
code = forkserver.run_in_fork(JobSpec.from_json(sys.argv[1]))
print(time.monotonic() - began, code)
"""
PARENT = """
import os, signal
from selfloop.jobs import forkserver
server = forkserver.start(["torch"])
print(server.pid, os.environ[forkserver.VARIABLE], os.environ[forkserver.PYTHON], sep="\\n", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PYTHONPATH with the probe."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.py").write_text(PROBE)
    return str(folder)


@pytest.fixture(scope="module")
def server(probe: str) -> Iterator[dict[str, str]]:
    """A server that this process started; the environment of its clients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", probe)
        process = forkserver.start(["torch"])
        assert process is not None
        yield {
            **environment(),
            "PYTHONPATH": probe,
            forkserver.VARIABLE: os.environ[forkserver.VARIABLE],
            forkserver.PYTHON: os.environ[forkserver.PYTHON],
        }
        name = os.environ[forkserver.VARIABLE]
        forkserver.stop(process)
        assert process.returncode is not None
        assert forkserver.VARIABLE not in os.environ
        assert not Path(name).exists()
        del os.environ[forkserver.PYTHON]


@pytest.fixture
def client(server: dict[str, str], tmp_path: Path) -> Any:
    """Start a client for a probe."""
    return lambda what: ask(what, server, tmp_path)


def probe_job(folder: Path, what: str) -> JobSpec:
    """A job of the probe."""
    return JobSpec(
        rule="probe",
        module="probe",
        folder=str(folder),
        input={},
        output={"pid": str(folder / "pid")},
        params={"what": what},
        threads=1,
        gpus=0,
        processes=1,
        every_seconds=60.0,
        log=str(folder / "probe.log"),
        began=0.0,
    )


def ask(what: str, environment: dict[str, str], folder: Path) -> "subprocess.Popen[str]":
    """Start a client that has the probe run in a fork."""
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, probe_job(folder, what).to_json()],
        env={**environment, "COLOUR": "green"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def fork_of(pid_file: Path) -> psutil.Process:
    wait_until(pid_file.exists, "the step's begin")
    return psutil.Process(int(pid_file.read_text()))


def test_a_step_runs_in_the_fork_as_it_would_in_the_client(client: Any, tmp_path: Path) -> None:
    process = client("nothing")
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert out == f"to stdout\ntorch is there: True; cwd {tmp_path}; green\n"
    assert err == "to stderr\n"
    attempt = last_attempt(tmp_path / "probe.log")
    assert attempt is not None and attempt.done is not None


def test_exit_codes_pass_through(client: Any) -> None:
    process = client("exit")
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 3


def test_a_user_error_is_shown_as_a_message(client: Any, tmp_path: Path) -> None:
    process = client("user error")
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert err == (f"to stderr\nselfloop: probe: training.epochs: 0 is not allowed.\nSee {tmp_path / 'probe.log'}.\n")
    log = (tmp_path / "probe.log").read_text()
    assert "training.epochs: 0 is not allowed." in log and "Traceback" not in log


def test_any_other_error_keeps_its_traceback(client: Any, tmp_path: Path) -> None:
    process = client("bug")
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert "Traceback" in err and "KeyError: 'no such thing'" in err
    assert "Traceback" in (tmp_path / "probe.log").read_text()


def test_sigterm_reaches_the_step(client: Any, tmp_path: Path) -> None:
    process = client("wait")
    step = fork_of(tmp_path / "pid")
    process.terminate()
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 7
    wait_gone([step])


def test_a_step_dies_with_its_client(client: Any, tmp_path: Path) -> None:
    process = client("wait")
    step = fork_of(tmp_path / "pid")
    process.kill()
    wait_gone([step])
    process.communicate(timeout=DEADLINE)


def test_a_client_whose_step_is_killed_fails_and_the_server_goes_on(client: Any, tmp_path: Path) -> None:
    process = client("wait")
    fork_of(tmp_path / "pid").kill()
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 137
    assert "was killed" in err
    again = client("nothing")
    assert "torch is there: True" in again.communicate(timeout=DEADLINE)[0]


def test_the_server_and_its_steps_die_with_the_process_that_started_it(probe: str, tmp_path: Path) -> None:
    around = {**environment(), "PYTHONPATH": probe}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], env=around, stdout=subprocess.PIPE, encoding="utf-8")
    assert parent.stdout is not None
    pid, path, python = (parent.stdout.readline().strip() for _ in range(3))
    server = psutil.Process(int(pid))
    process = ask("wait", {**around, forkserver.VARIABLE: path, forkserver.PYTHON: python}, tmp_path)
    step = fork_of(tmp_path / "pid")
    assert alive(server) and alive(step)
    parent.kill()
    wait_gone([server, step])
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 137
    assert "was killed" in err
    parent.communicate(timeout=DEADLINE)


def test_without_a_server_a_step_runs_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(forkserver.VARIABLE, raising=False)
    assert forkserver.run_in_fork(probe_job(tmp_path, "nothing")) is None
    # One that has died.
    monkeypatch.setenv(forkserver.VARIABLE, str(tmp_path / "nobody-listens.socket"))
    monkeypatch.setenv(forkserver.PYTHON, sys.prefix)
    assert forkserver.run_in_fork(probe_job(tmp_path, "nothing")) is None


def test_a_server_that_is_stopped_is_waited_for_once_and_its_late_fork_does_nothing(probe: str, tmp_path: Path) -> None:
    around = {**environment(), "PYTHONPATH": probe}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], env=around, stdout=subprocess.PIPE, encoding="utf-8")
    assert parent.stdout is not None
    pid, path, python = (parent.stdout.readline().strip() for _ in range(3))
    around |= {forkserver.VARIABLE: path, forkserver.PYTHON: python}
    command = [sys.executable, "-c", IMPATIENT, probe_job(tmp_path, "wait").to_json()]
    server = psutil.Process(int(pid))
    server.suspend()
    for seconds in (1.0, 0.0):  # the second does not wait
        with (tmp_path / "output").open("w") as output:  # not a pipe, whose end waits in the server's socket
            subprocess.run(command, env=around, stdout=output, check=True)
        took, code = (tmp_path / "output").read_text().split()
        assert code == "None" and seconds <= float(took) < seconds + 0.9
    server.resume()
    time.sleep(0.2)
    wait_until(lambda: not server.children(), "the end of the fork")
    assert not (tmp_path / "pid").exists()
    parent.kill()
    parent.communicate()


def test_a_step_of_another_environment_runs_where_it_is(
    server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(forkserver.VARIABLE, server[forkserver.VARIABLE])
    monkeypatch.setenv(forkserver.PYTHON, "/another/environment")
    assert forkserver.run_in_fork(probe_job(tmp_path, "nothing")) is None
