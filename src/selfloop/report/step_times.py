"""What was run: how long every step took, how fast, and with which versions. Read from the logs of the steps."""

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The lines of selfloop.jobs.execution, and those in which a step says how much it did.
_DONE = re.compile(r"(\w+) is done: ([\d.]+) s of work, ([\d.]+) s of start-up")
_TRAINED = re.compile(r"trained \d+ steps, ([\d,]+) (\w+) in ([\d.]+) s")
_SAMPLED = re.compile(r"([\d,]+) (\w+) sampled")
_FAILED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (\w*Error|\w*Exception|Terminated)\b")


@dataclass
class StepTimes:
    """How long the finished jobs of one rule took, in seconds; of a job that ran again, its last run.

    Attributes:
        work: seconds of work per job.
        start_up: seconds before the work per job.
        amounts: by unit, how much was done and in how many seconds of work.
    """

    work: list[float] = field(default_factory=list)
    start_up: list[float] = field(default_factory=list)
    amounts: dict[str, tuple[float, float]] = field(default_factory=dict)

    def throughput(self) -> list[tuple[str, float]]:
        """(unit, so many per second of work)."""
        return [(unit, done / seconds) for unit, (done, seconds) in self.amounts.items() if seconds > 0]


OWN_LOG = "write_report.log"


def step_times(logs: Path) -> dict[str, StepTimes]:
    """The times of all jobs whose log says that they are done, by rule, the longest first.

    A log file is appended to when its job runs again; only the last run counts.
    """
    found: dict[str, StepTimes] = defaultdict(StepTimes)
    for path in sorted(logs.rglob("*.log")) if logs.is_dir() else []:
        _read(path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n"), found)
    return dict(sorted(found.items(), key=lambda item: -sum(item[1].work)))


def _read(text: str, found: dict[str, StepTimes]) -> None:
    lines = text.splitlines()
    ends = [(place, match) for place, line in enumerate(lines) if (match := _DONE.search(line))]
    if not ends:
        return
    place, done = ends[-1]
    begun = max((at for at in range(place) if lines[at].endswith(f"{done[1]} begins")), default=0)
    times, work = found[done[1]], float(done[2])
    times.work.append(work)
    times.start_up.append(float(done[3]))
    for line in lines[begun:place]:
        if trained := _TRAINED.search(line):
            _add(times, trained[2], trained[1], float(trained[3]))
        elif sampled := _SAMPLED.search(line):
            _add(times, sampled[2], sampled[1], work)


def _add(times: StepTimes, unit: str, amount: str, seconds: float) -> None:
    done, spent = times.amounts.get(unit, (0.0, 0.0))
    times.amounts[unit] = (done + float(amount.replace(",", "")), spent + seconds)


def failures(logs: Path) -> list[tuple[str, str]]:
    """Logs whose job did not end well on its last run, each with the last line that says something."""
    found = []
    for path in sorted(logs.rglob("*.log")) if logs.is_dir() else []:
        if path.name == OWN_LOG:  # the page's own job is under way
            continue
        lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        last = max((place for place, line in enumerate(lines) if line.endswith(" begins")), default=None)
        if last is not None and not any(_DONE.search(line) for line in lines[last:]):
            wrong = [line for line in lines[last:] if _FAILED.search(line)]
            found.append((str(path.relative_to(logs)), (wrong or lines)[-1][:300]))
    return found


def provenance(path: Path) -> dict[str, Any] | None:
    """What the study noted of where its results come from; None where there is no such file or it is broken."""
    if not path.is_file():
        return None
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return noted if isinstance(noted, dict) else None
