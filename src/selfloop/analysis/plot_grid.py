"""Rule plot_grid: a domain's headline quantity over the points of each grid of regimes, at the last iteration."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import TypeAlias

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from selfloop.analysis.figures import INTERVAL, SEED_MARK, SEEDS
from selfloop.analysis.read import by_seed, in_order, over_seeds, require
from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.style import PANEL, add_title, axis_label, model_marks, save, styled, wrapped
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[dict[str, dict[str, dict[str, float]]]]


CELL = (0.6, 0.4)  # width and height in inches
WIDE = 30  # ratio of the largest value to the smallest from which on colours are logarithmic

Points = Mapping[str, Mapping[str, float]]  # by regime, the values of the grid's variables


@styled
def grid_figure(metrics: pd.DataFrame, domain: str, quantity: Quantity, points: Points, *, title: str = "") -> Figure:
    """A quantity at the last iteration that all regimes of a grid reach.

    Over one variable, a line per model with the seeds and the 95% interval of their mean; over two, a panel per model
    with a cell per point, the mean over seeds; over more, a panel for each combination of the others, too.

    Args:
        metrics: the tidy table of measurements.
        domain: the domain to draw.
        quantity: its headline.
        points: of the grid.
        title: above the panels; none if empty.

    Raises:
        UserError: the table has no such values.
    """
    rows = require(metrics[metrics["regime"].isin(list(points))], domain, quantity)
    last = int(rows.groupby(["series", "regime"])["iteration"].max().min())
    rows = rows[rows["iteration"] == last]
    names = list(next(iter(points.values())))
    label = f"{axis_label(quantity)}\nat iteration {last}"
    if len(names) == 1:
        figure = Figure(figsize=(PANEL[0] * 1.6 + 1.5, PANEL[1] + 0.8), layout="constrained")
        _curve(figure, rows, {regime: values[names[0]] for regime, values in points.items()}, names[0])
        figure.supylabel(label, fontsize="medium")
    else:
        figure = _cells(rows, points, names, label)
    add_title(figure, title)
    return figure


def _curve(figure: Figure, rows: pd.DataFrame, values: Mapping[str, float], name: str) -> None:
    axes = figure.subplots()
    axes.set_xlabel(name)
    series = in_order(rows["series"])
    several = rows["seed"].nunique() > 1
    for one, mark in model_marks(series).items():
        own = rows[rows["series"] == one]
        means = {values[str(regime)]: over_seeds(line).iloc[0] for regime, line in own.groupby("regime")}
        places = sorted(means)
        heights = [means[place]["mean"] for place in places]
        axes.plot(places, heights, color=mark.colour, marker=mark.marker, label=wrapped(one, 24))
        if several:
            low, high = ([means[place][end] for place in places] for end in ("low", "high"))
            axes.vlines(places, low, high, color=mark.colour, linewidth=0.8)
            seeds = [(values[str(regime)], value) for regime, line in own.groupby("regime") for value in by_seed(line)]
            axes.plot(*zip(*seeds, strict=True), color=mark.colour, **SEED_MARK)
    if several:
        axes.plot([], [], color="#555555", label=SEEDS, **SEED_MARK)
        axes.plot([], [], color="#555555", label=wrapped(INTERVAL, 24), linestyle="none", marker="|", markersize=9)
    figure.legend(loc="outside right upper")


def _cells(rows: pd.DataFrame, points: Points, names: Sequence[str], label: str) -> Figure:
    """Panels with a cell per point: the first variable upwards, the second to the right."""
    lists = {name: sorted({values[name] for values in points.values()}) for name in names}
    series = in_order(rows["series"])
    panels = [(one, others) for one in series for others in product(*(lists[name] for name in names[2:]))]
    columns = min(len(panels), 3)
    lines = math.ceil(len(panels) / columns)
    width, height = (CELL[0] * len(lists[names[1]]) + 0.6, CELL[1] * len(lists[names[0]]) + 0.6)
    size = (max(width, 1.2) * columns + 1.4, max(height, 2.0 if lines == 1 else 1.2) * lines)
    figure = Figure(figsize=size, layout="constrained")
    drawn = list(figure.subplots(lines, columns, squeeze=False).flat)
    for spare in drawn[len(panels) :]:
        spare.remove()
    means = rows.groupby(["series", "regime"])["value"].mean()
    scale = _scale(means.to_numpy(float))
    for (one, others), axes in zip(panels, drawn, strict=False):
        fixed = dict(zip(names[2:], others, strict=True))
        table = np.full((len(lists[names[0]]), len(lists[names[1]])), np.nan)
        for regime, values in points.items():
            if all(values[name] == value for name, value in fixed.items()):
                place = tuple(lists[name].index(values[name]) for name in names[:2])
                table[place] = means.get((one, regime), np.nan)
        heading = ", ".join([one if len(series) > 1 else "", *(f"{name} = {value:g}" for name, value in fixed.items())])
        _panel(axes, table, lists, names, scale)
        axes.set_title(wrapped(heading.removeprefix(", "), 28))
    bar = figure.colorbar(ScalarMappable(scale, "viridis"), ax=drawn[: len(panels)], label=label)
    bar.ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    return figure


def _panel(
    axes: Axes, table: np.ndarray, lists: Mapping[str, Sequence[float]], names: Sequence[str], scale: Normalize
) -> None:
    axes.imshow(table, origin="lower", aspect="auto", norm=scale, cmap="viridis")
    for (line, column), value in np.ndenumerate(table):
        if math.isfinite(value):
            ink = "black" if scale(value) > 0.6 else "white"
            axes.text(column, line, f"{value:.3g}", ha="center", va="center", color=ink, fontsize="small")
    axes.set_yticks(range(len(lists[names[0]])), [f"{value:g}" for value in lists[names[0]]])
    axes.set_xticks(range(len(lists[names[1]])), [f"{value:g}" for value in lists[names[1]]])
    axes.set_ylabel(names[0])
    axes.set_xlabel(names[1])
    axes.grid(visible=False)


def _scale(values: np.ndarray) -> Normalize:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    return LogNorm(low, high) if low > 0 and high / low > WIDE else Normalize(low, high)


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Draw a figure per grid; `params.asked` has their points by name."""
    for name, points in params.asked.items():
        figure, title = f"grid-{name}", params.titles[f"grid-{name}"]
        yield figure, partial(save, grid_figure(metrics, params.domain, params.headline, points, title=title))


def run(job: Job[Params]) -> None:
    """Draw the job's figures."""
    show(job, draw)
