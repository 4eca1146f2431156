"""The page of a study that is not finished, from whatever artifacts there are."""

import importlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from selfloop.analysis.read import CURVES_COLUMNS, METRICS_COLUMNS
from selfloop.analysis.show import write
from selfloop.data import collect
from selfloop.errors import UserError
from selfloop.jobs.steps import step_module
from selfloop.planning.shown import Shown

log = logging.getLogger(__name__)

MEASURED = ("measurements.json", "learning_curve.parquet")  # of a model


def measured(
    chains: Sequence[Mapping[str, Any]], simulations: Sequence[Mapping[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tidy tables of what has been measured so far, as `collect` makes them of a whole study.

    Args:
        chains, simulations: the rows that the rule collect_metrics is given.

    Returns:
        metrics and learning curves; a file that is missing or not whole is left out, and a log line says so.
    """
    metrics: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    for chain in chains:
        place = {name: chain[name] for name, _ in collect.CHAIN}
        parts = [f"{folder}.measurements.json" for folder in chain["part_folders"]]
        for path in (f"{chain['model_folder']}/measurements.json", *parts):
            metrics += [{**place, **row} for row in _there(collect.measurements, path)]
        path = f"{chain['model_folder']}/learning_curve.parquet"
        curves += [{**place, **row} for row in _there(collect.curve, path)]
    frames = [pd.DataFrame(metrics, columns=METRICS_COLUMNS)]
    frames += [
        table.to_pandas()
        for each in simulations
        if (table := _whole(partial(collect.simulated, dict(each)), each["file"]))
    ]
    return pd.concat([frame for frame in frames if len(frame)] or frames), pd.DataFrame(curves, columns=CURVES_COLUMNS)


def are_current(
    drawn: Sequence[str],
    others: Sequence[str],
    chains: Sequence[Mapping[str, Any]],
    simulations: Sequence[Mapping[str, str]],
    results: Path,
) -> bool:
    """Whether figures and tables show this study, and all that has been measured of it.

    They do if they are there, if `results` holds the index of this study's chains, not of another's or of this one's
    before a change, if that (and with it the tidy tables) is newer than every measurement, and if the figures that are
    drawn of the tidy tables are newer than it. Others, such as grids of samples, wait for no measurement.

    Args:
        drawn: the figures and tables that are drawn from the tidy tables.
        others: those that show artifacts as they are.
        chains, simulations: the rows that the rule collect_metrics is given.
        results: the folder of the index.
    """
    index = results / "chains.csv"
    if not index.is_file() or index.read_text(encoding="utf-8") != collect.index(chains):
        return False
    made_of = {f"{chain['model_folder']}/{name}" for chain in chains for name in MEASURED}
    made_of |= {f"{folder}.measurements.json" for chain in chains for folder in chain["part_folders"]}
    made_of |= {each["file"] for each in simulations}
    if not all(map(os.path.isfile, (*drawn, *others, *made_of))):
        return False
    tables = index.stat().st_mtime
    measured, shown = (
        max(map(os.path.getmtime, made_of), default=0.0),
        min(map(os.path.getmtime, drawn), default=tables),
    )
    return measured <= tables <= shown


def _there(read: Callable[[str], list[dict[str, Any]]], path: str) -> list[dict[str, Any]]:
    return _whole(partial(read, path), path) or []


def _whole(read: Callable[[], Any], path: str) -> Any:
    """What `read` gives; None where the file is missing or broken."""
    if not Path(path).is_file():
        return None
    try:
        return read()
    except (ValueError, OSError) as error:  # pyarrow's errors and JSON's are ValueErrors
        log.warning("%s is not whole and left out: %s", path, error)
        return None


def draw(entries: Sequence[Shown], metrics: pd.DataFrame, curves: pd.DataFrame, folder: Path) -> None:
    """Draw into `folder` what is shown of the tidy tables, with the steps' own functions.

    What has nothing to show yet is not drawn, and a log line says so.
    """
    tables = {"metrics": metrics, "learning_curves": curves}
    for entry in entries:
        if entry.tidy is None:
            continue
        step = importlib.import_module(step_module(entry.rule, entry.domain.name))
        paths = [folder / f"{name}.{form}" for name in entry.names("figures") for form in ("svg", "png")]
        paths += [folder / f"{name}.csv" for name in entry.names("tables")]
        try:
            write(step.draw(tables[entry.tidy], entry.params), entry.params, paths)
        except UserError as error:
            log.info("not drawn: %s", error)
