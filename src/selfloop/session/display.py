"""What a terminal shows of a run: bars that are redrawn, a line for each job that ends, or Snakemake's own messages."""

import os
import re
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from logging import DEBUG, ERROR, INFO, WARNING, Filter, LogRecord
from pathlib import Path
from threading import Thread
from typing import ClassVar, Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from snakemake import logging as snakemakes
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import OutputSettingsLoggerInterface

from selfloop.jobs.record import attempts, recorded_logs
from selfloop.numbers import duration
from selfloop.planning.paths import LOGS

STYLES = ("auto", "bars", "lines", "snakemake")
SHOWN_RULES = 8  # bars of rules at once, so that they and the total fit in a terminal of 24 lines
REDRAWN = 0.5  # seconds
LEFT = 29  # columns of how long it took, and the time left
LAST_WORDS = 1.0  # seconds to wait for a process that outlives its step
TOLD = 5  # seconds that jobs must have taken before a time left is told
# What Snakemake says besides its events and what a reader of a study has no use for.
DULL = re.compile(
    r"None$|host: |Using (profile|workflow specific profile)|Conda environments: ignored"
    r"|Assuming unrestricted shared filesystem|Building DAG of jobs|Using shell: "
    r"|Provided (cores|resources)|Rules claiming more threads|Select jobs to execute|Execute \d+ jobs"
    r"|Activating conda|Complete log|Elapsed time|Full Traceback|Removing output files of failed job"
    r"|(RuleException:\n)?CalledProcessError"
    r"|Shutting down, this might|Exiting because a job execution failed|Terminating processes on user request"
    r"|(WorkflowError:\n)?At least one job did not complete|Command .* returned non-zero exit status"
)
DIGEST = re.compile(r"[- ][0-9a-f]{16}\b")


class Display(Protocol):
    """Shows the records of Snakemake's log."""

    def show(self, record: LogRecord) -> None:
        """Show one, or nothing of it."""

    def close(self) -> None:
        """Stop; nothing is redrawn from now on."""


def display(style: str, settings: OutputSettingsLoggerInterface) -> Display:
    """The display of a style, one of `STYLES`.

    Args:
        settings: Snakemake's settings of its output.
    """
    stream = sys.stdout if settings.stdout else sys.stderr
    # A dry-run lists the jobs and why they run; --quiet and --verbose ask Snakemake for less and more.
    if style == "snakemake" or settings.dryrun or settings.quiet or settings.verbose or settings.printshellcmds:
        return AsSnakemake(stream, settings)
    console = Console(file=stream, no_color=settings.nocolor or None, highlight=False)
    if style == "bars" or (style == "auto" and console.is_terminal and not console.is_dumb_terminal):
        return Bars(console)
    return Lines(Console(file=stream, no_color=True, highlight=False, width=1000))


class AsSnakemake:
    """Snakemake's own messages."""

    def __init__(self, stream: TextIO, settings: OutputSettingsLoggerInterface) -> None:
        self.handler = snakemakes.ColorizingTextHandler(nocolor=settings.nocolor, stream=stream)
        self.handler.setFormatter(snakemakes.DefaultFormatter(settings.quiet, settings.show_failed_logs))
        self.filter: Filter = snakemakes.DefaultFilter(
            settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
        )
        self.level = DEBUG if settings.verbose or settings.debug_dag else INFO

    def show(self, record: LogRecord) -> None:
        """As Snakemake's handler of the terminal does."""
        if record.levelno >= self.level and self.filter.filter(record):
            self.handler.handle(record)

    def close(self) -> None:
        """Flush."""
        self.handler.flush()


@dataclass
class Jobs:
    """The jobs of a run, by what Snakemake tells of them.

    Attributes:
        planned: jobs by rule.
        done: finished jobs by rule.
        seconds: what finished jobs have taken, by rule.
        known: seconds of a job by rule, from records of earlier runs in this folder.
        running: by id, a job's rule, its name and when it began.
        began: when the run began, in seconds of `time.monotonic`.
    """

    planned: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)
    running: dict[int, tuple[str, str, float]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def plan(self, stats: Mapping[str, int]) -> None:
        """Note how many jobs there will be; the rule `all` does nothing."""
        self.planned = Counter({rule: count for rule, count in stats.items() if rule not in ("total", "all")})
        self.known = {rule: sum(times) / len(times) for rule, times in _times(self.planned).items()}

    def begin(self, record: LogRecord) -> None:
        """Note a job that begins."""
        rule: str = record.rule_name  # type: ignore[attr-defined]
        wildcards = " ".join(map(str, dict(getattr(record, "wildcards", None) or {}).values()))
        name = f"{rule} {DIGEST.sub('', wildcards)}".strip()
        self.running[record.jobid] = (rule, name, time.monotonic())  # type: ignore[attr-defined]

    def end(self, job: int, finished: bool = True) -> tuple[str, float] | None:
        """Note a job that ends; its name and seconds, or None for `all` and what is not known."""
        rule, name, began = self.running.pop(job, ("", "", 0.0))
        seconds = time.monotonic() - began
        if finished and rule in self.planned:
            self.done[rule] += 1
            self.seconds[rule] = self.seconds.get(rule, 0.0) + seconds
        return (name, seconds) if rule in self.planned else None

    @property
    def left(self) -> float | None:
        """Seconds until the end, by what jobs of each rule have taken, here or in earlier runs; None where that is
        unknown for most jobs."""
        took, elapsed = sum(self.seconds.values()), time.monotonic() - self.began
        counts = self.planned - self.done
        each = self.known | {rule: self.seconds[rule] / count for rule, count in self.done.items()}
        untimed = sum(count for rule, count in counts.items() if rule not in each)
        if not counts or took < TOLD or untimed > counts.total() / 2:
            return None
        mean = took / self.done.total()
        begun = sum(time.monotonic() - began for _, _, began in self.running.values())
        ahead = sum(count * each.get(rule, mean) for rule, count in counts.items())
        at_once = max(1.0, (took + begun) / max(elapsed, 1e-9))
        return max(0.0, ahead - begun) / at_once


def _times(rules: Mapping[str, int]) -> dict[str, list[float]]:
    """Seconds of finished attempts by rule, from the records in this folder."""
    found: dict[str, list[float]] = {}
    for log in recorded_logs(Path(LOGS)):
        for attempt in attempts(log):
            if attempt.done is not None and attempt.begin.rule in rules:
                found.setdefault(attempt.begin.rule, []).append(attempt.done.work + attempt.done.start_up)
    return found


class Lines:
    """A line for each job that ends, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console, self.jobs = console, Jobs()

    def show(self, record: LogRecord) -> None:
        """A line of a job that has ended or failed, or a message."""
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            self.jobs.plan(record.stats)  # type: ignore[attr-defined]
            self.say(f"{self.jobs.planned.total():,} jobs")
        elif event == LogEvent.JOB_INFO:
            self.jobs.begin(record)
        elif event == LogEvent.JOB_FINISHED:
            self.ended(self.jobs.end(record.job_id))  # type: ignore[attr-defined]
        elif event == LogEvent.JOB_ERROR:
            ended = self.jobs.end(record.jobid, finished=False)  # type: ignore[attr-defined]
            self.say(f"failed: {ended[0] if ended else record.getMessage()}", "red")
        elif event is None or event == LogEvent.ERROR:
            self.message(record)

    def message(self, record: LogRecord) -> None:
        """What Snakemake says besides its jobs, but for what only its developers need."""
        text = record.getMessage()
        if text and record.levelno >= INFO and not DULL.match(text):
            self.say(text, "red" if record.levelno >= ERROR else "yellow" if record.levelno >= WARNING else "")

    def ended(self, job: tuple[str, float] | None) -> None:
        """A job has ended."""
        if job is not None:
            done, planned = self.jobs.done.total(), self.jobs.planned.total()
            left = self.jobs.left
            ahead = f"; {duration(left)} left" if left is not None and done % 10 == 0 else ""
            self.say(f"[{done:>{len(str(planned))}}/{planned}] {job[0]}: {duration(job[1])}{ahead}")

    def say(self, text: str, style: str = "") -> None:
        """Print a text as it is."""
        self.console.print(Text(text, style=style), soft_wrap=True)

    def close(self) -> None:
        """Nothing is open."""


class Bars(Lines):
    """Bars of all jobs and of the rules at work, redrawn below what is printed.

    Attributes:
        shown: the bars that are on the terminal, if any.
    """

    shown: ClassVar["Bars | None"] = None

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.live = Live(
            console=console, get_renderable=self.drawn, transient=True, refresh_per_second=1 / REDRAWN
        )  # also moves what this process prints above the bars
        self.closed = False

    def show(self, record: LogRecord) -> None:
        """Print it or redraw."""
        super().show(record)
        if self.jobs.planned and not self.live.is_started and not self.closed:
            self.of_steps = Above(self.console, self.say)
            self.live.start()
            Bars.shown = self

    def say(self, text: str, style: str = "") -> None:
        """Print a text above the bars."""
        super().say(wrapped(text, self.console.width), style)

    def ended(self, job: tuple[str, float] | None) -> None:
        """The bars say it."""

    def drawn(self) -> Group:
        """The bars: all jobs first, then the rules of running jobs."""
        rows = Table.grid(padding=(0, 1), expand=True)
        # Columns keep their places while rules come and go.
        widest = max(map(len, ("all jobs", *self.jobs.planned)))
        count = 2 * len(str(self.jobs.planned.total())) + 1
        name = {"width": min(widest, self.console.width // 4), "no_wrap": True, "overflow": "crop"}
        for options in (name, {"ratio": 1}, {"width": count, "justify": "right"}, {"width": LEFT, "no_wrap": True}):
            rows.add_column(**options)
        done, planned = self.jobs.done.total(), self.jobs.planned.total()
        elapsed, left = duration(time.monotonic() - self.jobs.began), self.jobs.left
        ahead = elapsed if left is None or left < 1 else f"{elapsed}, {duration(left)} left"
        rows.add_row("all jobs", _bar(done, planned), f"{done}/{planned}", ahead)
        for rule, at_once in self._at_work():
            done, planned = self.jobs.done[rule], self.jobs.planned[rule]
            rows.add_row(rule, _bar(done, planned), f"{done}/{planned}", f"{at_once} running")
        return Group(rows)

    def _at_work(self) -> Iterator[tuple[str, int]]:
        rules = Counter(rule for rule, _, _ in self.jobs.running.values() if rule in self.jobs.planned)
        yield from sorted(rules.items())[:SHOWN_RULES]

    def close(self) -> None:
        """Remove the bars."""
        if self.live.is_started:
            self.of_steps.close()
            self.live.stop()
        self.closed, Bars.shown = True, None


class Above:
    """Lets `say` print what steps write to stderr, which would come where the bars are on the terminal of `console`."""

    def __init__(self, console: Console, say: Callable[[str], None]) -> None:
        self.say, self.terminal = say, os.dup(2)
        if console.file is sys.stderr:
            console.file = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        self.reader = Thread(target=self._print, args=(reading,), daemon=True)
        self.reader.start()

    def _print(self, reading: int) -> None:
        with open(reading, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self.say(line.rstrip("\n"))

    def close(self) -> None:
        """Give the terminal back, once all is printed that ended steps have written."""
        os.dup2(self.terminal, 2)
        os.close(self.terminal)
        self.reader.join(LAST_WORDS)


def wrapped(text: str, width: int) -> str:
    """A text whose lines break between words; one that is wider, such as a path, stays whole."""
    lines = []
    for line in text.split("\n"):
        margin = " " * (len(line) - len(line.lstrip()))
        lines += textwrap.wrap(
            line, width, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


def end_bars() -> None:
    """Remove the bars, if there are any: what is printed from now on stays where it is."""
    if Bars.shown is not None:
        Bars.shown.close()


def _bar(done: int, planned: int) -> ProgressBar:
    return ProgressBar(total=planned, completed=done, complete_style="green", finished_style="green")
