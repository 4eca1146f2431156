"""The processes of one step: each knows its place, and they end together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfloop.jobs import launch
from selfloop.processes import group

RANK = """
import os, signal, sys, time
from pathlib import Path
from selfloop.processes import group
folder, what = Path(sys.argv[1]), sys.argv[2]
if what == "ignores":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
(folder / f"{group.rank()} of {group.size()}").write_text(os.environ[group.MEETING])
if what == "works":
    sys.exit(0)
if group.rank() == 1:
    sys.exit(3)
time.sleep(60)
"""
LAUNCH = "import sys; from selfloop.jobs import launch; sys.exit(launch.run(sys.argv[1:], 2, {}))"


def run(folder: Path, what: str) -> int:
    return launch.run([sys.executable, "-c", RANK, str(folder), what], 2, dict(os.environ))


@pytest.fixture(autouse=True)
def _no_handlers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "forward", lambda send: None)


def test_each_process_knows_its_rank_and_where_the_others_are_met(tmp_path: Path) -> None:
    assert run(tmp_path, "works") == 0
    meetings = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert meetings.keys() == {"0 of 2", "1 of 2"} and len(set(meetings.values())) == 1
    assert not Path(meetings["0 of 2"]).parent.exists()
    assert (group.rank(), group.size()) == (0, 1)


@pytest.mark.parametrize("what", ["fails", "ignores"])
def test_if_one_fails_the_others_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(launch, "PATIENCE", 0.5)
    began = time.monotonic()
    assert run(tmp_path, what) == 3
    assert time.monotonic() - began < 30


def test_a_stop_signal_reaches_all(tmp_path: Path) -> None:
    step = "import time, pathlib, os; pathlib.Path(os.environ['SELFLOOP_RANK']).touch(); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", LAUNCH, sys.executable, "-c", step], cwd=tmp_path)
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=30) == 128 + signal.SIGHUP
