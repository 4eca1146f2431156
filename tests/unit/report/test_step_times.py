"""Times and throughput come from the records that steps leave."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from selfloop.jobs.record import Record
from selfloop.report import step_times

LOG = logging.getLogger("x")


def attempt(log: Path, rule: str, then: Callable[[Record], None]) -> None:
    """One attempt of a step."""
    with Record(log) as step:
        step.begin(rule, LOG)
        then(step)


def trained(step: Record) -> None:
    step.did(140_000, "tokens", 5.0)
    step.done(5.5, 0.5)


def sampled(step: Record) -> None:
    step.did(31_678, "tokens")
    step.done(2.0, 0.03)


def failed(step: Record) -> None:
    step.failed(ValueError("no sample"))


def killed(step: Record) -> None:
    pass


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Two trainings, one of which was done twice, and one sampling."""
    for name, many in (("train/a.log", [failed, trained]), ("train/b.log", [trained, trained])):
        for then in many:
            attempt(tmp_path / name, "train", then)
    attempt(tmp_path / "generate/c.log", "generate", sampled)
    return tmp_path


def test_each_job_counts_once_however_often_it_ran(logs: Path) -> None:
    times = step_times.step_times(logs)
    assert list(times) == ["train", "generate"]  # the longest first
    assert (times["train"].work, times["train"].start_up) == ([5.5, 5.5], [0.5, 0.5])
    assert times["train"].throughput() == [("tokens", 28_000.0)]
    assert times["generate"].throughput() == [("tokens", 15_839.0)]
    assert step_times.failures(logs) == []


@pytest.mark.parametrize(("then", "said"), [(failed, "ValueError: no sample"), (killed, "killed")])
def test_a_job_that_did_not_end_is_named(logs: Path, then: Callable[[Record], None], said: str) -> None:
    attempt(logs / "generate/c.log", "generate", then)
    assert step_times.failures(logs) == [("generate/c.log", said)]
    assert step_times.step_times(logs)["generate"].work == [2.0]


def test_a_job_that_runs_has_not_failed(logs: Path) -> None:
    with Record(logs / "write_report.log") as step:  # the page's own
        step.begin("write_report", LOG)
        assert step_times.failures(logs) == []


def test_without_records_there_are_no_times(tmp_path: Path) -> None:
    assert step_times.step_times(tmp_path / "logs") == {}
    assert step_times.failures(tmp_path / "logs") == []


def test_provenance_is_read_where_there_is_some(tmp_path: Path) -> None:
    path = tmp_path / "provenance.json"
    assert step_times.provenance(path) is None
    path.write_text('{"commit": "abc"}')
    assert step_times.provenance(path) == {"commit": "abc"}
    path.write_text('{"commit": ')  # of a run that was killed while it wrote
    assert step_times.provenance(path) is None
