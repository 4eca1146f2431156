"""Times and throughput come from the logs that steps leave."""

from pathlib import Path

import pytest

from selfloop.report import step_times

TRAINED = """2026-11-22 21:16:03 train begins
2026-11-22 21:16:05 Terminated: stopped
2026-11-22 21:17:03 train begins
\rtrain:  90%|######### | 451/500 [00:05<00:00, 90.12step/s]\rtrain: 100%
2026-11-22 21:17:09 trained 500 steps, 140,000 tokens in 5.0 s (28,000 tokens/s)
2026-11-22 21:17:09 train is done: 5.50 s of work, 0.50 s of start-up
"""
SAMPLED = """2026-11-22 21:17:17 generate begins
2026-11-22 21:17:18 500 documents, 31,678 tokens sampled; 346 ended
2026-11-22 21:17:18 generate is done: 2.00 s of work, 0.03 s of start-up
"""
STOPPED = """2026-11-22 21:17:17 generate begins
2026-11-22 21:17:18 UserError: no sample
Traceback (most recent call last):
"""


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for name, text in (("train/a.log", TRAINED), ("train/b.log", TRAINED + TRAINED), ("generate/c.log", SAMPLED)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_each_job_counts_once_however_often_it_ran(logs: Path) -> None:
    times = step_times.step_times(logs)
    assert list(times) == ["train", "generate"]  # the longest first
    assert (times["train"].work, times["train"].start_up) == ([5.5, 5.5], [0.5, 0.5])
    assert times["train"].throughput() == [("tokens", 28_000.0)]
    assert times["generate"].throughput() == [("tokens", 15_839.0)]
    assert step_times.failures(logs) == []


def test_a_job_that_did_not_end_is_named(logs: Path) -> None:
    (logs / "generate/c.log").write_text(SAMPLED + STOPPED)
    assert step_times.failures(logs) == [("generate/c.log", "2026-11-22 21:17:18 UserError: no sample")]
    assert step_times.step_times(logs)["generate"].work == [2.0]


def test_without_logs_there_are_no_times(tmp_path: Path) -> None:
    assert step_times.step_times(tmp_path / "logs") == {}
    assert step_times.failures(tmp_path / "logs") == []


def test_provenance_is_read_where_there_is_some(tmp_path: Path) -> None:
    path = tmp_path / "provenance.json"
    assert step_times.provenance(path) is None
    path.write_text('{"commit": "abc"}')
    assert step_times.provenance(path) == {"commit": "abc"}
    path.write_text('{"commit": ')  # of a run that was killed while it wrote
    assert step_times.provenance(path) is None
