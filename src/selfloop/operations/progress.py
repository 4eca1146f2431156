"""How far a study has come, from files alone: outputs that are there, logs, and the locks that running steps hold."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from selfloop.jobs.failures import is_done, tail
from selfloop.jobs.processes import is_running
from selfloop.planning import paths
from selfloop.planning.study import Chain, Experiment, Model

BAR = re.compile(r"(\d+)%\|[^|]*\| *\S+ \[([\d:]+)<([\d:?]+)")
WORK = re.compile(r" is done: ([\d.]+) s of work, ([\d.]+) s of start-up")


@dataclass(frozen=True)
class Step:
    """One job of a chain.

    Attributes:
        rule, log: its rule and its log.
        output: its main output, of several the one that it writes last.
        units: how its time grows with its input; 0 where no time is estimated, since it takes little or is done once.
    """

    rule: str
    output: Path
    log: Path
    units: float = 1.0

    @cached_property
    def state(self) -> str:
        """One of "done", "running", "stopped" (failed or killed) and "waits"."""
        if is_running(self.log):
            return "running"
        if self.output.exists():
            return "done"
        return "stopped" if self.log.exists() and not is_done(self.log) else "waits"

    @cached_property
    def seconds(self) -> float | None:
        """How long it took, work and start-up, by its log; None where that does not say."""
        found = WORK.findall(tail(self.log)) if self.log.exists() else []
        return sum(map(float, found[-1])) if found else None

    @cached_property
    def bar(self) -> tuple[int, float | None] | None:
        """What the progress bar in its log shows last: per cent, and the seconds left where it knows them."""
        found = BAR.findall(tail(self.log).rpartition(" begins\n")[2])
        if not found:
            return None
        per_cent, _, left = found[-1]
        return int(per_cent), None if "?" in left else _seconds(left)


def _seconds(clock: str) -> float:
    total = 0.0
    for field in clock.split(":"):
        total = total * 60 + float(field)
    return total


def steps(chain: Chain) -> list[list[Step]]:
    """A chain's jobs by iteration, in their order; those that prepare the real data belong to the first."""
    found = [
        list(_of_model(model, [part.name for part in parts]))
        for model, parts in zip(chain.models, chain.parts, strict=True)
    ]
    return [[*_of_data(chain.experiment), *found[0]], *found[1:]]


def _step(rule: str, output: str, log: str, units: float = 1.0) -> Step:
    return Step(rule, Path(output), Path(log), units)


def _of_data(experiment: Experiment) -> Iterator[Step]:
    data = experiment.data_name
    prepared = paths.real(paths.documents(data), "test")
    yield _step("prepare_data", prepared, paths.log("prepare_data", data), 0.0)
    if experiment.tokenizer_file is not None:
        name = f"{data}-{experiment.tokenizer_name}"
        yield _step("train_tokenizer", experiment.tokenizer_file, paths.log("train_tokenizer", name), 0.0)
        yield _step("tokenize", paths.real(experiment.real_name, "test"), paths.log("tokenize", name), 0.0)


def _of_model(model: Model, parts: Sequence[str]) -> Iterator[Step]:
    name = model.name
    rows = sum(take.amount for take, _ in model.takes)
    units = rows if model.budget is None else min(rows, model.budget)
    yield _step("concatenate", paths.training_set(name), paths.log("concatenate", name), 0.0)
    yield _step("train", paths.learning_curve(name), paths.log("train", name), units)
    for part in parts:
        yield _step("generate", paths.part(name, part), paths.log("generate", name, part))
    yield _step("evaluate_model", paths.model_measurements(name), paths.log("evaluate_model", name))
    for part in parts:
        yield _step("evaluate_part", paths.part_measurements(name, part), paths.log("evaluate_part", name, part))


@dataclass(frozen=True)
class Progress:
    """Where a chain is.

    Attributes:
        iterations, done: how many it has, and how many are done with all their jobs.
        now: what happens, in words.
        seconds_left: until its end, if nothing else held it up; None where nothing is known.
    """

    chain: Chain
    iterations: int
    done: int
    now: str
    seconds_left: float | None


def speeds(chains: Sequence[Chain]) -> Mapping[tuple[str, str], float]:
    """Mean seconds per unit of each experiment's finished steps, by setting and rule."""
    totals: dict[tuple[str, str], tuple[float, float]] = {}
    seen: set[Path] = set()
    for chain in chains:
        for step in (step for iteration in steps(chain) for step in iteration):
            if step.log in seen:
                continue
            seen.add(step.log)
            if step.units and step.state == "done" and step.seconds is not None:
                key = (chain.experiment.setting_name, step.rule)
                seconds, units = totals.get(key, (0.0, 0.0))
                totals[key] = (seconds + step.seconds, units + step.units)
    return {key: seconds / units for key, (seconds, units) in totals.items()}


def progress(chain: Chain, known: Mapping[tuple[str, str], float]) -> Progress:
    """Where a chain is, given the speeds of finished steps."""
    jobs = steps(chain)
    # What steps without a time have made is of use to the others alone, and may be gone when these are done.
    done = sum(all(step.state == "done" for step in iteration if step.units) for iteration in jobs)
    words = []
    left: float | None = 0.0
    for number, iteration in enumerate(jobs, start=1):
        for step in iteration:
            if step.state == "done":
                continue
            speed = known.get((chain.experiment.setting_name, step.rule)) if step.units else 0.0
            needed = None if speed is None else speed * step.units
            if step.state == "running":
                bar = step.bar
                words.append(f"{step.rule} {number}" + (f" ({bar[0]} %)" if bar else ""))
                needed = bar[1] if bar and bar[1] is not None else needed
            elif step.state == "stopped":
                words.append(f"FAILED or killed: {step.rule} {number}, see {step.log}")
            left = None if left is None or needed is None else left + needed
    now = "; ".join(words) or ("finished" if done == len(jobs) else "waits")
    return Progress(chain, len(jobs), done, now, left)
