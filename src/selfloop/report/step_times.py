"""What was run: how long every step took and how fast it was, by the records of the steps."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from selfloop.jobs.record import attempts, failed_steps, recorded_logs


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
        """(unit, units per second of work)."""
        return [(unit, done / seconds) for unit, (done, seconds) in self.amounts.items() if seconds > 0]


def step_times(logs: Path) -> dict[str, StepTimes]:
    """The times of all jobs that have come to their end, by rule, the longest first."""
    found: dict[str, StepTimes] = defaultdict(StepTimes)
    for log in recorded_logs(logs):
        # The last attempt that succeeded: what it made stays until the next one does.
        ended = next((attempt for attempt in reversed(attempts(log)) if attempt.done is not None), None)
        if ended is None or ended.done is None:
            continue
        times = found[ended.begin.rule]
        times.work.append(ended.done.work)
        times.start_up.append(ended.done.start_up)
        for amount in ended.amounts:
            count, seconds = times.amounts.get(amount.unit, (0.0, 0.0))
            took = ended.done.work if amount.seconds is None else amount.seconds
            times.amounts[amount.unit] = (count + amount.count, seconds + took)
    return dict(sorted(found.items(), key=lambda item: -sum(item[1].work)))


def failures(logs: Path) -> list[tuple[str, str]]:
    """Logs of the steps that were not done when last tried and do not run, each with what ended them."""
    found = []
    for log, attempt in failed_steps(logs).items():
        wrong = attempt.failed
        said = "killed" if wrong is None else f"{wrong.type}: {wrong.message}"
        found.append((str(log.relative_to(logs)), said[:300]))
    return found


def provenance(path: Path) -> Mapping[str, object] | None:
    """What the study noted of where its results come from; None where there is no such file or it is broken."""
    if not path.is_file():
        return None
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return noted if isinstance(noted, dict) else None
