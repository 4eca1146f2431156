"""From the tidy tables to files: how every figure and table that is drawn from them is made.

A module that shows something has `draw(table, params)`, which gives pairs of a name and a function that saves what has
that name. A rule's job and the page of an unfinished study call it. READABLE says how readers see a table's data.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from selfloop.analysis.read import read_curves, read_metrics
from selfloop.jobs.job import Job

Drawn = Iterator[tuple[str, Callable[[Sequence[Path]], object]]]


def show(job: Job, draw: Callable[[pd.DataFrame, Mapping[str, Any]], Drawn]) -> None:
    """Draw the job's tidy table into its outputs."""
    path = job.input.get("metrics")
    table = read_curves(Path(job.input["learning_curves"])) if path is None else read_metrics(Path(path))
    write(draw(table, job.params), job.params["domain"], outputs(job))


def outputs(job: Job) -> list[Path]:
    """All files that a job has to write."""
    return [Path(path) for paths in job.output.values() for path in paths]


def write(drawn: Drawn, domain: str, paths: Iterable[Path]) -> None:
    """Save what is drawn to those of the paths that bear the domain's name and its own."""
    files = list(paths)
    for name, save in drawn:
        save([path for path in files if path.stem == f"{domain}-{name}"])
