"""What a terminal, a pipe and a dry-run show of the same records of Snakemake's log."""

import io
import logging
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent

from selfloop.session import display
from selfloop.session.display import AsSnakemake, Bars, Jobs, Lines

MODEL = "gpt2-h16-l1-0123456789abcdef/seed0/iteration2-fedcba9876543210"


def record(message: str = "", level: int = logging.INFO, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    vars(made).update(fields)
    return made


def begin(job: int, rule: str = "train", model: str = MODEL) -> logging.LogRecord:
    return record(event=LogEvent.JOB_INFO, jobid=job, rule_name=rule, wildcards={"model": model})


PLAN = record(event=LogEvent.RUN_INFO, stats={"train": 2, "all": 1, "total": 3})
END = record(event=LogEvent.JOB_FINISHED, job_id=1)


def settings(**changed: Any) -> SimpleNamespace:
    plain = dict.fromkeys(("stdout", "dryrun", "quiet", "verbose", "printshellcmds", "nocolor", "debug_dag"), False)
    return SimpleNamespace(**{**plain, "quiet": set(), "show_failed_logs": False, **changed})


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown(*records: logging.LogRecord) -> str:
    stream = io.StringIO()
    lines = Lines(Console(file=stream, width=1000, no_color=True))
    for each in records:
        lines.show(each)
    return stream.getvalue()


def test_a_job_that_ends_is_one_line_without_digests() -> None:
    assert shown(PLAN, begin(1)) == "2 jobs\n"
    assert shown(PLAN, begin(1), END).splitlines()[1] == "[1/2] train gpt2-h16-l1/seed0/iteration2: 0 s"
    assert "train plays: 0 s" in shown(PLAN, begin(1, model="plays 443a4a9480feb6a0"), END)


def test_a_failed_job_is_one_line_and_the_rule_all_none() -> None:
    failed = record("Error in rule train", logging.ERROR, event=LogEvent.JOB_ERROR, jobid=1)
    assert shown(PLAN, begin(1), failed).splitlines()[1:] == ["failed: train gpt2-h16-l1/seed0/iteration2"]
    assert shown(PLAN, begin(1, "all", "m"), END) == "2 jobs\n"


def test_messages_are_shown_as_they_are_but_for_what_only_developers_need() -> None:
    text = "a file [with brackets] in /a/very/long" + "/path" * 60
    assert shown(record(text, logging.WARNING)) == f"{text}\n"
    dull = (
        "Using workflow specific profile profiles/default for setting default command line arguments.",
        "Conda environments: ignored",
        "Select jobs to execute...",
        "RuleException:\nCalledProcessError in file \"workflow/rules/loop.smk\", line 45:\nCommand 'x' returned 1.",
        "WorkflowError:\nAt least one job did not complete successfully.",
        "host: here",
    )
    assert shown(*map(record, dull), record("details", logging.DEBUG)) == ""


def test_bars_of_all_jobs_and_of_the_rules_at_work_fit_in_a_terminal() -> None:
    stream = io.StringIO()
    bars = Bars(Console(file=stream, width=80, height=24, force_terminal=True))
    many = record(event=LogEvent.RUN_INFO, stats={f"rule{n}": 3 for n in range(30)})
    bars.show(many)
    for n in range(30):
        bars.show(begin(n, f"rule{n}"))
    bars.show(record(event=LogEvent.JOB_FINISHED, job_id=1))
    console = Console(file=io.StringIO(), width=80)
    console.print(bars.drawn())
    bars.close()
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 1 + display.SHOWN_RULES
    assert all(len(line) <= 80 for line in lines)
    assert "1/90" in lines[0]
    assert "rule0" in lines[1]
    assert "1 running" in lines[1]


def test_bars_keep_their_columns_while_rules_come_and_go() -> None:
    bars = Bars(Console(file=io.StringIO(), width=80, height=24, force_terminal=True))
    bars.show(record(event=LogEvent.RUN_INFO, stats={"train": 100, "a_rule_with_a_name_beyond_all_others": 2}))
    begun = []
    for rule in ("train", "a_rule_with_a_name_beyond_all_others"):
        bars.show(begin(1, rule))
        console = Console(file=io.StringIO(), width=80, force_terminal=True)
        console.print(bars.drawn())
        drawn: str = console.file.getvalue()  # type: ignore[attr-defined]
        begun += [
            line.index("\N{BOX DRAWINGS HEAVY HORIZONTAL}") for line in re.sub(r"\x1b\[[\d;]*m", "", drawn).splitlines()
        ]
    bars.close()
    assert len(set(begun)) == 1


def test_no_time_left_is_told_before_most_jobs_ahead_are_of_rules_that_have_a_speed() -> None:
    now = display.time.monotonic()
    jobs = Jobs(began=now - 30)
    jobs.plan({"prepare": 1, "train": 9, "total": 10})
    jobs.running[0] = ("prepare", "", now - 30)
    jobs.end(0)
    assert jobs.left is None
    jobs.running[1] = ("train", "", now - 10)
    jobs.end(1)
    assert jobs.left == pytest.approx(8 * 10 / (40 / 30), rel=0.05)


def test_what_a_step_writes_to_stderr_is_printed_above_the_bars(capfd: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    bars = Bars(Console(file=stream, width=80, height=24, force_terminal=True))
    bars.show(PLAN)
    subprocess.run(["sh", "-c", "echo the loss became nan >&2"], check=True)
    display.end_bars()
    assert "the loss became nan\n" in stream.getvalue()
    subprocess.run(["sh", "-c", "echo after the run >&2"], check=True)
    assert capfd.readouterr().err == "after the run\n"


def test_lines_break_between_words_and_paths_stay_whole() -> None:
    path = "results/logs/train/gpt2-h16-l1-8f3e8159bf40b0a6/seed0/iteration1-a7ed52b2ccf36b9f.log"
    told = display.wrapped(f"The end of {path}:\n    12:00 a warning of more than eighty columns{' in words' * 5}", 80)
    assert told.split("\n")[:2] == ["The end of", f"{path}:"]
    assert told.split("\n")[3] == "    words in words"


def test_the_time_left_is_that_of_the_jobs_ahead_of_each_rule() -> None:
    """Two trainings of 30 s have ended; 3 are ahead, and a figure that took 100 s in an earlier run."""
    now = display.time.monotonic()
    jobs = Jobs(began=now - 60)
    jobs.plan({"train": 5, "plot": 1, "total": 6})
    assert jobs.left is None
    jobs.known = {"plot": 100.0}
    for job in range(2):
        jobs.running[job] = ("train", "", now - 30)
        jobs.end(job)
    assert jobs.left == pytest.approx(3 * 30 + 100, rel=0.05)


@pytest.mark.parametrize("changed", [{"dryrun": True, "stdout": True}, {"quiet": {"rules"}}, {"verbose": True}])
def test_a_dry_run_and_snakemakes_own_options_show_what_snakemake_does(changed: dict[str, Any]) -> None:
    assert isinstance(display.display("auto", settings(**changed)), AsSnakemake)


@pytest.mark.parametrize(("term", "kind"), [("xterm", Bars), ("dumb", Lines)])
def test_a_terminal_that_cannot_redraw_has_lines(term: str, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # taken for a terminal
    assert type(display.display("auto", settings())) is kind


def test_bars_are_for_terminals_alone_unless_they_are_asked_for() -> None:
    assert type(display.display("auto", settings())) is Lines
    assert type(display.display("bars", settings())) is Bars
    assert isinstance(display.display("snakemake", settings()), AsSnakemake)
