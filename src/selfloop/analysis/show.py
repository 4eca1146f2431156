"""From what a step draws to its files: how every figure and table of the tidy tables is made.

A module that shows something has `draw(table, params)`, which gives pairs of a name and a figure or a data frame, and
READABLE, which says how a reader sees the data frames. Both a rule's job and the page of an unfinished study call them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from selfloop.analysis.read import read_curves, read_metrics
from selfloop.analysis.style import save
from selfloop.analysis.table import Readable
from selfloop.data.atomic import atomic_file
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job

Drawn = Iterator[tuple[str, Figure | pd.DataFrame]]
NONE: Readable = MappingProxyType({})


def show(job: Job, draw: Callable[[pd.DataFrame, Mapping[str, Any]], Drawn], readable: Readable = NONE) -> None:
    """Draw the job's tidy table into its outputs."""
    path = job.input.get("metrics")
    table = read_curves(Path(job.input["learning_curves"])) if path is None else read_metrics(Path(path))
    write(draw(table, job.params), job.params, outputs(job), readable)


def outputs(job: Job) -> list[Path]:
    """All files that a job has to write."""
    return [Path(path) for paths in job.output.values() for path in paths]


def write(drawn: Drawn, params: Mapping[str, Any], paths: Iterable[Path], readable: Readable = NONE) -> None:
    """Write what is drawn to those of the paths that bear its name, and are of its kind, by atomic writes.

    A CSV is UTF-8, and its numbers read back equal.
    """
    quantity = Quantity(**params["headline"])
    for name, thing in drawn:
        targets = [path for path in paths if path.stem == f"{params['domain']}-{name}"]
        if isinstance(thing, Figure):
            save(thing, [path for path in targets if path.suffix in (".png", ".svg")])
            continue
        for path in targets:
            if path.suffix == ".csv":
                _write(path, thing.to_csv(index=False, lineterminator="\n"))
            elif path.suffix == ".md":
                _write(path, readable[name](thing, quantity).markdown())


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="")
