"""The work of jobs before they run, by their domains' `cost.py`: for `selfloop estimate` and for time limits.

Light: what it imports is, and modules of domains are imported when they are asked.
"""

import importlib
from pathlib import Path
from types import ModuleType

from selfloop.domains.cost import AnyEffort
from selfloop.domains.protocol import FOLDER
from selfloop.planning.artifacts import Experiment, Model, Part
from selfloop.planning.paths import DATA


def domain_module(domain: str, module: str) -> ModuleType | None:
    """A module of a domain, or None where the domain has no such module."""
    if not (FOLDER / domain / f"{module}.py").exists():
        return None
    return importlib.import_module(f"selfloop.domains.{domain}.{module}")


def effort_of(experiment: Experiment, rows: int | None = None) -> AnyEffort | None:
    """The cost of each job of an experiment, or None where its domain does not say it.

    Args:
        experiment: it.
        rows: train rows of a data set of otherwise unknown size.

    Raises:
        UserError: the size of the data is unknown, or they are damaged.
    """
    module = domain_module(experiment.domain.name, "cost")
    if module is None:
        return None
    found: AnyEffort = module.effort(experiment.data, experiment.sized_model, Path(DATA) / experiment.real_name, rows)
    return found


def rows_taken(model: Model) -> float:
    """Rows of a model's training set in multiples of the real training rows (every part has as many as those)."""
    taken = sum(take.amount for take, _ in model.takes)
    return taken if model.budget is None else min(taken, model.budget)


def flops(step: str, effort: AnyEffort, model: Model, part: Part | None) -> float | None:
    """Floating-point operations of a job of `step`; None of steps whose cost is not counted.

    Args:
        step: its rule.
        effort: of the model's experiment.
        model, part: what the job makes or measures.
    """
    if step == "train":
        return effort.train(model.training, rows_taken(model)).flops
    if step == "evaluate_model":
        return effort.evaluate_model.flops
    if part is None:
        return None
    if step == "generate":
        return effort.generate(part.sampling).flops
    if step == "score":
        return effort.score(part.sampling).flops
    return effort.evaluate_part(part.sampling, model.first == model.name).flops if step == "evaluate_part" else None
