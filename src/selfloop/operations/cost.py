"""What a study costs: jobs, units trained and sampled, FLOPs, disk and device-hours, by experiment and in all.

Each experiment is added up as if it ran alone. The total counts an artifact that several share once, as a run does.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from selfloop.domains.cost import AnyEffort, Work
from selfloop.planning.artifacts import Experiment
from selfloop.planning.rules import Plan
from selfloop.planning.study import Study
from selfloop.planning.work import effort_of, rows_taken


@dataclass(frozen=True)
class Speed:
    """How fast one device works.

    Attributes:
        train, generate: FLOP/s of training (and measuring) and of sampling.
        trained, sampled: units per second; where given, they count in place of the FLOPs.
    """

    train: float
    generate: float
    trained: float | None = None
    sampled: float | None = None

    def hours(self, rule: str, work: Work) -> float:
        """Hours that a rule's work takes on one device."""
        units = {"train": self.trained, "generate": self.sampled}.get(rule)
        if units is not None:
            return work.units / units / 3600
        return work.flops / (self.generate if rule == "generate" else self.train) / 3600


Artifacts = dict[tuple[str, str], tuple[Work, float]]  # by rule and what it makes: the work, and device-hours
SpeedOf = Callable[[Experiment, AnyEffort], Speed]


@dataclass(frozen=True)
class Cost:
    """Of one experiment, or of all: by rule the jobs, the work and the device-hours (none if no speed is known)."""

    name: str
    unit: str
    jobs: dict[str, int]
    work: dict[str, Work]
    device_hours: dict[str, float]

    def of(self, *rules: str) -> Work:
        """The work of some rules together, or of all."""
        return sum((work for rule, work in self.work.items() if not rules or rule in rules), Work())


def costs(
    plan: Plan,
    speed_of: SpeedOf | None = None,
    rows: int | None = None,
    effort_of: Callable[[Experiment, int | None], AnyEffort | None] = effort_of,
) -> tuple[list[Cost], list[str]]:
    """The cost of each experiment and, last, of the whole study; and the assumptions behind them.

    Args:
        plan: the study.
        speed_of: how fast a device is with an experiment's model; None where that is not known.
        rows: training rows of data sets of unknown size.
        effort_of: the cost of an experiment's jobs, given `rows`.

    Raises:
        UserError: the size of a data set is unknown.
    """
    units: dict[str, str] = {}  # by name: each seed has an experiment of its own where it draws its own data
    own: dict[str, Artifacts] = {}
    assumed: dict[str, None] = {}
    for experiment in plan.experiments:
        effort = effort_of(experiment, rows)
        if effort is None:
            domain = experiment.domain.name
            assumed[f"Only the jobs of the domain {domain} are counted: it does not say what they cost."] = None
        else:
            assumed |= dict.fromkeys(effort.assumed)
        speed = None if speed_of is None or effort is None else speed_of(experiment, effort)
        artifacts = {
            key: (work, speed.hours(key[0], work) if speed else 0.0)
            for key, work in experiment_artifacts(experiment, effort).items()
        }
        units[experiment.name] = effort.unit if effort else ""
        own[experiment.name] = {**own.get(experiment.name, {}), **artifacts}
    found = [_cost(name, units[name], artifacts) for name, artifacts in own.items()]
    everything = {key: work for artifacts in own.values() for key, work in artifacts.items()}
    kinds = set(filter(None, units.values()))
    total = _cost("in all", kinds.pop() if len(kinds) == 1 else "units", everything)
    jobs = with_shown(plan, total.jobs)
    return [*found, Cost(total.name, total.unit, jobs, total.work, total.device_hours)], list(assumed)


def with_shown(plan: Plan, jobs: Mapping[str, int]) -> dict[str, int]:
    """The jobs of a study by rule: those that make its artifacts, `jobs`, and those that show them.

    One profile has the chains of all experiments that share a first model.
    """
    shown = [entry.rule for entry in plan.shows.entries]
    profiles = {"measure_profile": len(plan.profiles)} if plan.profiles else {}
    return {**jobs, **profiles, **Counter(["collect_metrics", "write_profile", "write_report", *shown])}


def experiment_artifacts(experiment: Experiment, effort: AnyEffort | None) -> dict[tuple[str, str], Work]:
    """All artifacts that an experiment needs, by rule and name, each with its work; one job each."""
    study = Study((experiment,))
    found = {("prepare_data", experiment.data_name): effort.data if effort else Work()}
    if experiment.tokenizer is not None:
        found |= {(rule, experiment.real_name): Work() for rule in ("train_tokenizer", "tokenize")}
    if experiment.baseline_file is not None:
        found["measure_baseline", experiment.baseline_file] = Work()
    for name, model in study.models.items():
        found["concatenate", name] = Work()
        found["train", name] = effort.train(model.training, rows_taken(model)) if effort else Work()
        found["evaluate_model", name] = effort.evaluate_model if effort else Work()
    for part in study.parts.values():
        first = study.models[part.model].first == part.model
        found["generate", part.folder] = effort.generate(part.sampling) if effort else Work()
        if part.measured:
            found["evaluate_part", part.folder] = effort.evaluate_part(part.sampling, first) if effort else Work()
    found |= {("measure_profile", name): Work() for name in study.profiles}
    for score in study.scores.values():
        under = effort if score.under is not None else None
        found["score", score.file] = under.score(score.part.sampling) if under else Work()
    return found | {("simulate_chains", name): Work() for name in study.simulations}


def _cost(name: str, unit: str, artifacts: Artifacts) -> Cost:
    work: dict[str, Work] = {}
    hours: dict[str, float] = {}
    for (rule, _), (one, time) in artifacts.items():
        work[rule] = work.get(rule, Work()) + one
        hours[rule] = hours.get(rule, 0.0) + time
    return Cost(name, unit, dict(Counter(rule for rule, _ in artifacts)), work, hours)
