"""What a study costs before anything starts: jobs, units trained and sampled, operations, disk and device-hours.

    make estimate CONFIG=config/paper.yaml
    make estimate CONFIG=config/paper.yaml SPEED="--flops 9.89e14 --utilisation 0.4"

Each experiment is added up as if it ran alone. The total counts an artifact that several share once, as a run does.
"""

import argparse
import importlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selfloop.cli import load_plan
from selfloop.domains.cost import Effort, Work
from selfloop.domains.protocol import FOLDER
from selfloop.errors import UserError
from selfloop.identity import digest
from selfloop.planning.paths import DATA
from selfloop.planning.rules import Plan
from selfloop.planning.study import Experiment, Model, Study

EVALUATIONS = ("evaluate_model", "evaluate_part")


@dataclass(frozen=True)
class Speed:
    """How fast one device works.

    Attributes:
        train, generate: operations per second of training (and measuring) and of sampling.
        trained, sampled: units per second; where given, they count in place of the operations.
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
SpeedOf = Callable[[Experiment, Effort], Speed]


@dataclass(frozen=True)
class Line:
    """One experiment, or all of them: by rule the jobs, the work and the device-hours (none if no speed is known)."""

    name: str
    unit: str
    jobs: dict[str, int]
    work: dict[str, Work]
    hours: dict[str, float]

    def of(self, *rules: str) -> Work:
        """The work of some rules together, or of all."""
        return sum((work for rule, work in self.work.items() if not rules or rule in rules), Work())


def estimate(plan: Plan, speed_of: SpeedOf | None = None, rows: int | None = None) -> tuple[list[Line], list[str]]:
    """A line per experiment and, last, one for the whole study; and the assumptions behind them.

    Args:
        plan: the study.
        speed_of: how fast a device is with an experiment's model; None where that is not known.
        rows: train rows of data sets whose size nothing else tells.

    Raises:
        UserError: nothing tells the size of a data set.
    """
    lines: list[Line] = []
    everything: Artifacts = {}
    assumed: dict[str, None] = {}
    for experiment in plan.experiments:
        effort = _effort_of(experiment, rows)
        if effort is None:
            domain = experiment.domain.name
            assumed[f"Jobs of the domain {domain} are counted alone: it does not say what they cost."] = None
        else:
            assumed |= dict.fromkeys(effort.assumed)
        speed = None if speed_of is None or effort is None else speed_of(experiment, effort)
        artifacts = {
            key: (work, speed.hours(key[0], work) if speed else 0.0)
            for key, work in experiment_artifacts(experiment, effort).items()
        }
        lines.append(_line(experiment.name, effort.unit if effort else "", artifacts))
        everything |= artifacts
    units = {line.unit for line in lines if line.unit}
    total = _line("in all", units.pop() if len(units) == 1 else "units", everything)
    shown = [rule for domain in plan.domains for rule in plan.shown_by(domain)]
    jobs = total.jobs | Counter(["collect_metrics", "write_report", *shown])
    return [*lines, Line(total.name, total.unit, jobs, total.work, total.hours)], list(assumed)


def experiment_artifacts(experiment: Experiment, effort: Effort | None) -> dict[tuple[str, str], Work]:
    """All artifacts that an experiment needs, by rule and name, each with its work; one job each."""
    study = Study((experiment,))
    found = {("prepare_data", experiment.data_name): effort.data if effort else Work()}
    if experiment.tokenizer is not None:
        found |= {(rule, experiment.real_name): Work() for rule in ("train_tokenizer", "tokenize")}
    for name, model in study.models.items():
        found["concatenate", name] = Work()
        found["train", name] = effort.train(model.training, rows_taken(model)) if effort else Work()
        found["evaluate_model", name] = effort.evaluate_model if effort else Work()
    for part in study.parts.values():
        first = study.models[part.model].first == part.model
        found["generate", part.folder] = effort.generate(part.sampling) if effort else Work()
        found["evaluate_part", part.folder] = effort.evaluate_part(part.sampling, first) if effort else Work()
    return found | {("simulate_chains", name): Work() for name in study.simulations}


def rows_taken(model: Model) -> float:
    """Rows of a model's training set in multiples of the real train rows (every part has as many as those)."""
    taken = sum(min(take.amount, 1 - take.skip) for take, _ in model.takes)
    return taken if model.budget is None else min(taken, model.budget)


def _effort_of(experiment: Experiment, rows: int | None) -> Effort | None:
    module = _own(experiment, "cost")
    if module is None:
        return None
    found: Effort = module.effort(experiment.data, experiment.model, Path(DATA) / experiment.real_name, rows)
    return found


def _own(experiment: Experiment, module: str) -> Any:
    """A module of an experiment's domain, or None where the domain has no such module."""
    domain = experiment.domain.name
    if not (FOLDER / domain / f"{module}.py").exists():
        return None
    return importlib.import_module(f"selfloop.domains.{domain}.{module}")


def _line(name: str, unit: str, artifacts: Artifacts) -> Line:
    work: dict[str, Work] = {}
    hours: dict[str, float] = {}
    for (rule, _), (one, time) in artifacts.items():
        work[rule] = work.get(rule, Work()) + one
        hours[rule] = hours.get(rule, 0.0) + time
    return Line(name, unit, dict(Counter(rule for rule, _ in artifacts)), work, hours)


# --- what is printed -----------------------------------------------------------------------------------------------

HEADINGS = ("experiment", "jobs", "train", "generate", "trained", "sampled", "FLOPs", "in train", "in generate")


def table(lines: Sequence[Line], timed: bool) -> str:
    """The lines as an aligned text; with device-hours if these are known."""
    rows = [[*HEADINGS, "in evaluate", "disk", *(["device-hours"] if timed else [])]]
    for line in lines:
        row = [line.name, f"{sum(line.jobs.values()):,}"]
        row += [f"{line.jobs.get(rule, 0):,}" for rule in ("train", "generate")]
        row += [f"{short(line.of(rule).units)} {line.unit}" for rule in ("train", "generate")]
        row += [short(work.flops) for work in (line.of(), line.of("train"), line.of("generate"))]
        row += [short(line.of(*EVALUATIONS).flops), f"{short(line.of().bytes)}B"]
        rows.append(row + ([f"{sum(line.hours.values()):,.2f}"] if timed else []))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        texts.append("  ".join([first.ljust(widths[0]), *cells]))
    rule = "-" * len(texts[0])
    return "\n".join([texts[0], rule, *texts[1:-1], rule, texts[-1]])


def short(number: float) -> str:
    """Three figures and a prefix: 470M, 1.02G."""
    for limit, prefix in ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit * 0.9995:
            value = number / limit
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{prefix}"
    return f"{number:.0f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the estimate of a config.

    Raises:
        SystemExit: there is none to print; the message says why, and the exit code is 1.
    """
    options = _options(arguments)
    told: list[str] = []
    try:
        plan = load_plan(options.config)
        speed_of = _measured(options, told) if options.measure else _given(options, told)
        lines, assumed = estimate(plan, speed_of, options.rows)
    except (OSError, UserError) as error:
        sys.exit(f"selfloop: {error}")
    notes, timed = [*assumed, *told], speed_of is not None
    if options.json:
        print(json.dumps({"lines": [_as_json(line, timed) for line in lines], "notes": notes}, indent=1))
        return
    print(table(lines, timed))
    print(f"\nJobs by rule: {', '.join(f'{rule} {count}' for rule, count in lines[-1].jobs.items())}.")
    print("Experiments are counted as if each ran alone; in all, what they share counts once.")
    print("Training includes the evaluations of its learning curve. On disk are data sets and checkpoints, all kept.")
    print("\nWhat is not known, but assumed, measured or given:", *(f"- {note}" for note in notes), sep="\n")


def _as_json(line: Line, timed: bool) -> dict[str, Any]:
    numbers = {"jobs": line.jobs, "work": {rule: asdict(work) for rule, work in line.work.items()}}
    return {"name": line.name, "unit": line.unit, **numbers, "device_hours": line.hours if timed else None}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="estimate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("config", type=Path, help="the study")
    parser.add_argument("--measure", action="store_true", help="measure how fast this machine trains and samples")
    parser.add_argument("--threads", type=_count, help="CPU threads that --measure uses (default: all)")
    parser.add_argument("--flops", type=_positive, help="operations per second of a device, such as 9.89e14")
    parser.add_argument("--utilisation", type=_positive, default=0.4, help="share of it in training (default: 0.4)")
    help_sampling = "share of it in sampling (default: 0.03)"
    parser.add_argument("--sampling-utilisation", type=_positive, default=0.03, help=help_sampling)
    parser.add_argument("--trained-per-second", type=_positive, help="units trained per second, whatever the model")
    parser.add_argument("--sampled-per-second", type=_positive, help="units sampled per second, whatever the model")
    parser.add_argument("--rows", type=_count, help="train rows of data sets whose size nothing else tells")
    parser.add_argument("--json", action="store_true", help="print all numbers in full, as JSON")
    options = parser.parse_args(arguments)
    if options.measure and options.flops:
        parser.error("--measure and --flops: give one of them")
    if options.flops is None and not options.measure and (options.trained_per_second or options.sampled_per_second):
        parser.error("--trained-per-second, --sampled-per-second: give --flops too, for all that is measured")
    return options


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return number


def _given(options: argparse.Namespace, told: list[str]) -> SpeedOf | None:
    """The speed that the options say, the same for all models."""
    if options.flops is None:
        told.append("No device-hours: say --measure, or --flops.")
        return None
    told.append(_shares(options, options.flops, "by --flops"))
    return lambda experiment, effort: _share(options, options.flops)


def _measured(options: argparse.Namespace, told: list[str]) -> SpeedOf:
    """Measures each model of the study once, where its domain knows how."""
    from selfloop.training.speed import device_name, matrix_products

    products = matrix_products(options.threads)
    where = device_name(options.threads)
    known: dict[str, Speed] = {}

    def speed_of(experiment: Experiment, effort: Effort) -> Speed:
        module = _own(experiment, "measure_speed")
        if module is None:
            note = _shares(options, products, f"matrix products on {where}")
            if note not in told:
                told.append(note)
            return _share(options, products)
        key = digest([experiment.domain.name, experiment.model])
        if key not in known:
            sections = (experiment.model, experiment.training, experiment.sampling[0])
            train, generate = module.measure_speed(*sections, effort.row, options.threads)
            known[key] = Speed(train, generate, options.trained_per_second, options.sampled_per_second)
            told.append(
                f"{experiment.domain.model_title(experiment.model)} trains at {short(train)}FLOP/s and samples at "
                f"{short(generate)}FLOP/s, measured on {where}; that is {train / products:.0%} and "
                f"{generate / products:.1%} of its matrix products."
            )
        return known[key]

    return speed_of


def _share(options: argparse.Namespace, flops: float) -> Speed:
    rates = (options.trained_per_second, options.sampled_per_second)
    return Speed(flops * options.utilisation, flops * options.sampling_utilisation, *rates)


def _shares(options: argparse.Namespace, flops: float, source: str) -> str:
    training, sampling = options.utilisation, options.sampling_utilisation
    shares = f"{training:.0%} of it in training and measuring, {sampling:.1%} in sampling"
    text = f"A device has {short(flops)}FLOP/s ({source}) and reaches {shares}"
    given = {"trained": options.trained_per_second, "sampled": options.sampled_per_second}
    return text + "".join(f"; {rate:,.0f} units are {verb} per second" for verb, rate in given.items() if rate) + "."


if __name__ == "__main__":
    main()
