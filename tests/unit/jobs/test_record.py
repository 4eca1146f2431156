"""What a step leaves in its record, and who may write there."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfloop.jobs import record
from selfloop.jobs.record import Amount, Record, attempts, failed_steps, is_running, last_attempt

HOLD = """
import logging, sys
from pathlib import Path
from selfloop.jobs.record import Record
logging.basicConfig(format="%(message)s")
with Record(Path(sys.argv[1])) as step:
    step.begin("train", logging.getLogger("x"))
    print("begun", flush=True)
    sys.stdin.read()
"""
LOG = logging.getLogger("x")


def other_process(log: Path) -> "subprocess.Popen[str]":
    """A process that does the same step until its stdin ends."""
    return subprocess.Popen([sys.executable, "-c", HOLD, str(log)], stdin=-1, stdout=-1, stderr=-1, encoding="utf-8")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a step that nobody has begun."""
    return tmp_path / "logs" / "train" / "a.log"


def test_an_attempt_says_where_it_ran_what_it_did_and_how_long_that_took(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in (("SLURMD_NODENAME", "n1"), ("SLURM_JOB_ID", "17"), ("CUDA_VISIBLE_DEVICES", "4,7")):
        monkeypatch.setenv(variable, value)
    before = time.time()
    with Record(log) as step:
        step.begin("train", LOG)
        step.did(140_000, "tokens", 5.0)
        step.done(5.5, 0.5)
    (attempt,) = attempts(log)
    assert (attempt.begin.rule, attempt.begin.pid) == ("train", os.getpid())
    assert attempt.begin.place == "n1, SLURM job 17, GPU 4,7"
    assert before <= attempt.begin.time <= time.time()
    assert attempt.amounts == [Amount(140_000, "tokens", 5.0)]
    assert attempt.done is not None and (attempt.done.work, attempt.done.start_up) == (5.5, 0.5)
    assert attempt.failed is None


def test_a_record_keeps_all_attempts_and_of_each_what_ended_it(log: Path) -> None:
    with Record(log) as step:
        step.begin("train", LOG)
        step.failed(ValueError("no rows"))
    with Record(log) as step:
        step.begin("train", LOG)
    with Record(log) as step:
        step.begin("train", LOG)
        step.done(1.0, 0.1)
    first, second, third = attempts(log)
    assert first.failed is not None and (first.failed.type, first.failed.message) == ("ValueError", "no rows")
    assert second.failed is None and second.done is None  # killed
    assert third.done is not None and third == last_attempt(log)


def test_progress_is_noted_now_and_then(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(record.time, "time", lambda: now)
    with Record(log) as step:
        step.begin("train", LOG)
        for second in range(2000):
            now = 1000.0 + second
            step.progress(second, 2000, 0, 2000.0 - second)
    noted = [json.loads(line)["done"] for line in log.with_suffix(".jsonl").read_text().splitlines()[1:]]
    assert noted[:3] == [0, 5, 10]
    assert noted[-1] - noted[-2] == 20  # a hundredth of the time so far
    attempt = last_attempt(log)
    assert attempt is not None and attempt.progress is not None and attempt.progress.done == noted[-1]


def test_a_line_that_a_kill_has_cut_off_spoils_no_other(log: Path) -> None:
    with Record(log) as step:
        step.begin("train", LOG)
    with log.with_suffix(".jsonl").open("a") as file:
        file.write('{"event": "done", "wor')
    with Record(log) as step:
        step.begin("train", LOG)
        step.done(1.0, 0.1)
    first, second = attempts(log)
    assert first.done is None and second.done is not None


def test_a_process_that_does_not_lead_leaves_no_record(log: Path) -> None:
    with Record(log, writes=False) as step:
        step.begin("train", LOG)
        step.done(1.0, 0.1)
    assert attempts(log) == [] and not log.parent.exists()


def test_one_process_at_a_time_does_a_step(log: Path) -> None:
    first = other_process(log)
    assert first.stdout is not None and first.stdout.readline() == "begun\n"
    assert is_running(log)
    second = other_process(log)
    assert second.stdout is not None and second.stderr is not None
    assert "another process still runs this step" in second.stderr.readline()
    assert len(attempts(log)) == 1
    first.kill()
    assert second.stdout.readline() == "begun\n"
    second.communicate("")
    first.communicate()
    assert len(attempts(log)) == 2
    assert not is_running(log)


def test_a_step_that_nobody_does_is_not_running(log: Path) -> None:
    assert not is_running(log)
    with Record(log) as step:
        step.begin("train", LOG)
        assert is_running(log)
    assert not is_running(log)


def test_failed_are_those_that_did_not_come_to_their_end_and_do_not_run(log: Path) -> None:
    names = ("done", "failed", "killed", "running", "long ago")
    logs = {name: log.with_name(f"{name}.log") for name in names}
    with Record(logs["long ago"]) as step:
        step.begin("train", LOG)
    since = time.time()
    with Record(logs["running"]) as running:
        running.begin("train", LOG)
        for name in names[:3]:
            with Record(logs[name]) as step:
                step.begin("train", LOG)
                if name == "done":
                    step.done(1.0, 0.1)
                elif name == "failed":
                    step.failed(KeyError("x"))
        assert set(failed_steps(log.parents[1], since)) == {logs["failed"], logs["killed"]}
