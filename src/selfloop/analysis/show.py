"""From the tidy tables to the files of figures and tables.

A module that shows something has `draw(table, params)`, which yields pairs of a name and a function that saves what has
that name; a rule's job and the page of an unfinished study call it. READABLE makes its tables for readers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import pandas as pd
from pydantic import BaseModel

from selfloop.analysis.read import read_tidy
from selfloop.data.quantity import Quantity
from selfloop.data.tidy import CURVES, METRICS, PROFILE
from selfloop.jobs.job import Job, StepParams

TABLES = {"metrics": METRICS, "learning_curves": CURVES, "profile": PROFILE}
Drawn = Iterator[tuple[str, Callable[[Sequence[Path]], object]]]


A_co = TypeVar("A_co", covariant=True)


class Artifact(BaseModel):
    """One chain at one iteration, and the paths that the step reads: the others are empty.

    Attributes:
        checkpoint: of its model.
        part: that this model sampled, number 0.
        train, test: the real splits.
    """

    experiment: str
    model: str
    regime: str
    sampling: str
    seed: int
    iteration: int
    checkpoint: str = ""
    part: str = ""
    train: str = ""
    test: str = ""


class Asking(StepParams, Generic[A_co]):
    """What a step that shows something takes of its params.

    Attributes:
        headline: the domain's headline quantity.
        asked: what the step must know of the config.
        artifacts: what it reads besides the tidy table.
        titles: of its figures, by name.
    """

    domain: str
    headline: Quantity
    asked: A_co
    artifacts: list[Artifact]
    titles: dict[str, str]


Params: TypeAlias = Asking[object]  # of a step that needs nothing of the config
P = TypeVar("P", bound=Params)


def show(job: Job[P], draw: Callable[[pd.DataFrame, P], Drawn]) -> None:
    """Draw the job's tidy table into its outputs."""
    name, schema = next((name, schema) for name, schema in TABLES.items() if name in job.input)
    write(draw(read_tidy(job.input[name], schema), job.params), job.params.domain, outputs(job))


def outputs(job: Job[Params]) -> list[Path]:
    """All output files of a job."""
    return [Path(path) for paths in job.output.values() for path in paths]


def write(drawn: Drawn, domain: str, paths: Iterable[Path]) -> None:
    """Save what is drawn to the paths with its name after the domain's."""
    files = list(paths)
    for name, save in drawn:
        save([path for path in files if path.stem == f"{domain}-{name}"])
