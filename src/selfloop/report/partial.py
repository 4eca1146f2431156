"""The page of a study that is not finished, from whatever artifacts there are."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from selfloop.analysis import tables
from selfloop.analysis.figures import headline_figure, synthetic_figure
from selfloop.analysis.learning import learning_figure
from selfloop.analysis.read import CURVES_COLUMNS, METRICS_COLUMNS
from selfloop.analysis.style import Scale, save
from selfloop.data import collect
from selfloop.data.quantity import Quantity
from selfloop.errors import UserError

log = logging.getLogger(__name__)

MEASURED = ("measurements.json", "learning_curve.parquet")  # of a model
OF_TABLES = ("-headline", "-synthetic", "-learning-curves")
EPOCH_AND_STEP: tuple[Literal["epoch", "step"], ...] = ("epoch", "step")
SCALES: tuple[Scale, ...] = ("linear", "log")


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
    files: Sequence[str],
    chains: Sequence[Mapping[str, Any]],
    simulations: Sequence[Mapping[str, str]],
    results: Path,
) -> bool:
    """Whether figures and tables show this study, and all that has been measured of it.

    They do if they are there, if `results` holds the index of this study's chains, not of another's or of this one's
    before a change, if that (and with it the tidy tables) is newer than every measurement, and if the figures that are
    drawn of the tidy tables are newer than it. Others, such as grids of samples, wait for no measurement.

    Args:
        files: the figures and tables.
        chains, simulations: the rows that the rule collect_metrics is given.
        results: the folder of the index.
    """
    index = results / "chains.csv"
    if not index.is_file() or index.read_text(encoding="utf-8") != collect.index(chains):
        return False
    made_of = {f"{chain['model_folder']}/{name}" for chain in chains for name in MEASURED}
    made_of |= {f"{folder}.measurements.json" for chain in chains for folder in chain["part_folders"]}
    made_of |= {each["file"] for each in simulations}
    if not all(map(os.path.isfile, (*files, *made_of))):
        return False
    tables = index.stat().st_mtime
    drawn = [os.path.getmtime(file) for file in files if any(name in file for name in OF_TABLES)]
    return max(map(os.path.getmtime, made_of), default=0.0) <= tables <= min(drawn, default=tables)


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


def draw(domains: Sequence[Mapping[str, Any]], metrics: pd.DataFrame, curves: pd.DataFrame, folder: Path) -> None:
    """Draw the shared figures and write the shared tables of unfinished domains into `folder`.

    What has nothing to show yet is not drawn, and a log line says so.
    """
    for domain in domains:
        name, headline = domain["name"], Quantity(**domain["headline"])
        synthetic = [Quantity(**each) for each in domain["synthetic"]]
        _try(_figure, folder / f"{name}-headline", headline_figure, metrics, name, headline)
        if synthetic:
            _try(_figure, folder / f"{name}-synthetic", synthetic_figure, metrics, name, synthetic)
        for x, scale in product(EPOCH_AND_STEP, SCALES) if domain["curve"] is not None else ():
            draw_curves = partial(learning_figure, x=x, scale=scale)
            target = folder / f"{name}-learning-curves-{x}-{scale}"
            _try(_figure, target, draw_curves, curves, name, Quantity(**domain["curve"]))
        _try(_tables, name, headline, metrics, folder)


def _figure(target: Path, draw_figure: Callable[..., Figure], *about: Any) -> None:
    save(draw_figure(*about), target)


def _tables(name: str, quantity: Quantity, metrics: pd.DataFrame, folder: Path) -> None:
    table = tables.headline_table(metrics, name, quantity)
    tables.write_table(table, tables.headline_markdown(table, quantity), folder / f"{name}-headline")
    table = tables.chains_table(metrics, name, quantity)
    tables.write_table(table, tables.chains_markdown(table, quantity), folder / f"{name}-trend")


def _try(step: Callable[..., None], *about: Any) -> None:
    try:
        step(*about)
    except UserError as error:
        log.info("not drawn: %s", error)
