"""`selfloop status`: one line per chain with iterations done, what runs or has failed, and the time left.

It reads files only: outputs that exist, the records of steps, and the locks that running steps hold.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from selfloop.jobs.record import Attempt, is_running, last_attempt
from selfloop.numbers import duration, table
from selfloop.planning import paths
from selfloop.planning.artifacts import Chain, Experiment, Model, Part
from selfloop.planning.rules import Plan

HEAD = ("experiment", "regime", "sampling", "seed", "iterations", "time left", "now")


@dataclass(frozen=True)
class Step:
    """One job of a chain.

    Attributes:
        rule, log: its rule and its log.
        output: its main output, of several the one that it writes last.
        units: what its time is proportional to; 0 where no time is estimated, as it is short or runs once.
        unit: what they are, where steps of one rule differ in it.
        slices: where a sampling keeps its finished slices.
    """

    rule: str
    output: Path
    log: Path
    units: float = 1.0
    unit: str = ""
    slices: Path | None = None

    @property
    def kept(self) -> int:
        """Finished slices that the next attempt resumes from."""
        return 0 if self.slices is None else len(list(self.slices.glob("slice-*")))

    @property
    def counts(self) -> bool:
        """Whether an iteration takes it to be done; outputs that only others use may have been deleted after these."""
        return self.units > 0 or self.rule == "measure_profile"

    @cached_property
    def attempt(self) -> Attempt | None:
        """Its last attempt, by its record."""
        return last_attempt(self.log)

    @cached_property
    def state(self) -> str:
        """One of "done", "running", "FAILED", "killed" and "waits"."""
        if is_running(self.log):
            return "running"
        if self.output.exists():
            return "done"
        if self.attempt is None or self.attempt.done is not None:
            return "waits"
        return "killed" if self.attempt.failed is None else "FAILED"

    @property
    def seconds(self) -> float | None:
        """Work and start-up of the last attempt; None if that did not succeed."""
        done = None if self.attempt is None else self.attempt.done
        return None if done is None else done.work + done.start_up


def steps(chain: Chain) -> list[list[Step]]:
    """A chain's jobs by iteration, in order; those that prepare the real data belong to the first.

    That which compares all its parts with real data belongs to the last one.
    """
    found = [list(_of_model(model, parts)) for model, parts in zip(chain.models, chain.parts, strict=True)]
    found[0] = [*_of_data(chain.experiment), *found[0]]
    if chain.profile is not None:
        log = paths.log("measure_profile", chain.profile)
        found[-1].append(_step("measure_profile", paths.profile(chain.profile), log, 0.0))
    return found


def _step(rule: str, output: str, log: str, units: float = 1.0, unit: str = "", slices: Path | None = None) -> Step:
    return Step(rule, Path(output), Path(log), units, unit, slices)


def _of_data(experiment: Experiment) -> Iterator[Step]:
    data = experiment.data_name
    prepared = paths.real(paths.documents(data), "test")
    yield _step("prepare_data", prepared, paths.log("prepare_data", data), 0.0)
    if experiment.tokenizer_file is not None:
        name = f"{data}-{experiment.tokenizer_name}"
        yield _step("train_tokenizer", experiment.tokenizer_file, paths.log("train_tokenizer", name), 0.0)
        yield _step("tokenize", paths.real(experiment.real_name, "test"), paths.log("tokenize", name), 0.0)
    if experiment.baseline_file is not None:
        log = paths.log("measure_baseline", f"{experiment.real_name}-{experiment.baseline_name}")
        yield _step("measure_baseline", experiment.baseline_file, log, 0.0)


def _of_model(model: Model, parts: Sequence[Part]) -> Iterator[Step]:
    name = model.name
    for score in model.scores:
        yield _step("score", score.file, paths.log("score", score.part.model, f"{score.part.name}-{score.name}"))
    yield _step("concatenate", paths.training_set(name), paths.log("concatenate", name), 0.0)
    yield _step("train", paths.learning_curve(name), paths.log("train", name), *_length(model))
    for part in parts:
        slices = Path(paths.part_state(name, part.name))
        yield _step("generate", part.folder, paths.log("generate", name, part.name), slices=slices)
    yield _step("evaluate_model", paths.model_measurements(name), paths.log("evaluate_model", name))
    for part in parts:
        for file in part.measurements:
            yield _step("evaluate_part", file, paths.log("evaluate_part", name, part.name))


def _length(model: Model) -> tuple[float, str]:
    """What the time of a training is proportional to: its steps, or the rows that it sees, in the real ones."""
    if (steps := getattr(model.training, "steps", None)) is not None:
        return float(steps), "steps"
    rows = sum(take.amount for take, _ in model.takes)
    rows = rows if model.budget is None else min(rows, model.budget)
    return getattr(model.training, "epochs", 1.0) * rows, "rows"


@dataclass(frozen=True)
class Status:
    """Where a chain is.

    Attributes:
        iterations, done: how many it has, and for how many all jobs are done.
        now: what is going on, for people.
        seconds_left: until its end if its jobs ran one after the other without waiting; None where unknown.
    """

    chain: Chain
    iterations: int
    done: int
    now: str
    seconds_left: float | None


def speeds(chains: Sequence[Chain]) -> Mapping[tuple[str, str, str], float]:
    """Mean seconds per unit of each experiment's finished steps, by setting, rule and unit."""
    totals: dict[tuple[str, str, str], tuple[float, float]] = {}
    seen: set[Path] = set()
    for chain in chains:
        for step in (step for iteration in steps(chain) for step in iteration):
            if step.log in seen:
                continue
            seen.add(step.log)
            if step.units and step.state == "done" and step.seconds is not None:
                key = (chain.experiment.setting_name, step.rule, step.unit)
                seconds, units = totals.get(key, (0.0, 0.0))
                totals[key] = (seconds + step.seconds, units + step.units)
    return {key: seconds / units for key, (seconds, units) in totals.items()}


def status(chain: Chain, known: Mapping[tuple[str, str, str], float]) -> Status:
    """Where a chain is, given the speeds of finished steps."""
    jobs = steps(chain)
    done = sum(all(step.state == "done" for step in iteration if step.counts) for iteration in jobs)
    words = []
    left: float | None = 0.0
    for number, iteration in enumerate(jobs, start=1):
        for step in iteration:
            if step.state == "done":
                continue
            speed = known.get((chain.experiment.setting_name, step.rule, step.unit)) if step.units else 0.0
            needed = None if speed is None else speed * step.units
            if step.state == "running":
                progress = None if step.attempt is None else step.attempt.progress
                share = f" ({progress.done / progress.total:.0%})" if progress and progress.total else ""
                words.append(f"{step.rule} {number}{share}")
                needed = progress.seconds_left if progress and progress.seconds_left is not None else needed
            elif step.state != "waits":
                kept = f" ({step.kept} slices are kept)" if step.kept else ""
                words.append(f"{step.state}: {step.rule} {number}{kept}, see {step.log}")
            left = None if left is None or needed is None else left + needed
    now = "; ".join(words) or ("finished" if done == len(jobs) else "waits")
    return Status(chain, len(jobs), done, now, left)


def print_status(plan: Plan) -> None:
    """Print the table of a study."""
    known = speeds(plan.chains)
    print(table([HEAD, *(_line(status(chain, known)) for chain in plan.chains)]))


def _line(found: Status) -> tuple[str, ...]:
    chain = found.chain
    sampling = chain.experiment.domain.sampling_title(chain.sampling)
    left = duration(found.seconds_left) if found.done < found.iterations else "-"
    done = f"{found.done} of {found.iterations}"
    return (chain.experiment.name, chain.regime, sampling or "-", str(chain.seed), done, left, found.now)
