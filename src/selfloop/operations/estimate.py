"""`selfloop estimate`: what a study costs before anything starts, as a table or as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from selfloop.errors import UserError
from selfloop.numbers import short, size, table
from selfloop.operations.cost import Cost, SpeedOf, costs
from selfloop.planning.rules import Plan
from selfloop.processes.gpus import devices
from selfloop.processor import auto_precision, processor

HEADINGS = ("experiment", "jobs", "train", "generate", "trained", "sampled", "FLOPs", "in train", "in generate")


def print_estimate(
    plan: Plan, speed_of: SpeedOf | None, notes: Sequence[str], rows: int | None = None, as_json: bool = False
) -> None:
    """Print the estimate of a study.

    Args:
        plan: the study.
        speed_of: how fast a device is; None for no device-hours.
        notes: sentences about the speed; `speed_of` may add some.
        rows: training rows of data sets of unknown size.
        as_json: all numbers in full.

    Raises:
        UserError: the size of a data set is unknown, or it cannot be read.
    """
    try:
        found, assumed = costs(plan, speed_of, rows)
    except OSError as error:
        raise UserError(str(error)) from error
    timed = speed_of is not None
    said = [*assumed, *_precision(plan), *(notes if timed else ["No device-hours: say --measure, or --flops."])]
    if as_json:
        lines = [asdict(cost) | ({} if timed else {"device_hours": None}) for cost in found]
        print(json.dumps({"lines": lines, "notes": said}, indent=1))
        return
    print(_table(found, timed))
    print(f"\nJobs by rule: {', '.join(f'{rule} {count}' for rule, count in found[-1].jobs.items())}.")
    print("Experiments are counted as if each ran alone; in all, what they share counts once.")
    print("Training includes the evaluations of its learning curve. On disk are data sets and checkpoints, all kept.")
    print("\nAssumed, measured or given:", *(f"- {note}" for note in said), sep="\n")


def _precision(plan: Plan) -> list[str]:
    """A sentence about the compute dtype of models that leave it to the machine."""
    if all(getattr(experiment.training, "precision", "") != "auto" for experiment in plan.checked.experiments.values()):
        return []
    if devices():
        return ["precision: auto is bfloat16 on GPUs with units for it, else float32."]
    return [f"precision: auto is {auto_precision()} on this processor ({processor()}); bfloat16 enters all names."]


def _table(found: Sequence[Cost], timed: bool) -> str:
    scores = any("score" in cost.jobs for cost in found)
    headings = [*HEADINGS, "in evaluate", *(["in score"] if scores else []), "disk"]
    rows = [[*headings, *(["device-hours"] if timed else [])]]
    for cost in found:
        row = [cost.name, f"{sum(cost.jobs.values()):,}"]
        row += [f"{cost.jobs.get(rule, 0):,}" for rule in ("train", "generate")]
        row += [f"{short(cost.of(rule).units)} {cost.unit}" for rule in ("train", "generate")]
        row += [short(work.flops) for work in (cost.of(), cost.of("train"), cost.of("generate"))]
        row += [
            short(cost.of(*rules).flops) for rules in (("evaluate_model", "evaluate_part"), ("score",))[: 1 + scores]
        ]
        row.append(size(cost.of().bytes))
        rows.append(row + ([f"{sum(cost.device_hours.values()):,.2f}"] if timed else []))
    first, *others = table(rows, right=range(1, len(rows[0]))).splitlines()
    rule = "-" * len(first)
    return "\n".join([first, rule, *others[:-1], rule, others[-1]])
