"""Rule plot_learning_curves: learning curves of every iteration (the paper's Figs. 3 and 9-12)."""

from functools import partial
from typing import Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from selfloop.analysis.read import in_order, regimes_in_order, require
from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.style import (
    PANEL,
    Mark,
    Scale,
    add_title,
    model_marks,
    regime_title,
    save,
    scale_values,
    styled,
    wrapped,
)
from selfloop.data.quantity import Quantity
from selfloop.errors import UserError
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[Quantity]


Axis = Literal["epoch", "step"]
AXIS_NAMES: dict[Axis, str] = {"epoch": "Epoch", "step": "Gradient step"}


def draw(curves: pd.DataFrame, params: Params) -> Drawn:
    """Draw the four variants: by epochs and by steps, on linear and on logarithmic axes."""
    for scale in get_args(Scale):
        for x in get_args(Axis):
            name = f"learning-curves-{x}-{scale}"
            title = params.titles[name]
            figure = learning_figure(curves, params.domain, params.asked, x=x, scale=scale, title=title)
            yield name, partial(save, figure)


def run(job: Job[Params]) -> None:
    """Draw the job's figures."""
    show(job, draw)


@styled
def learning_figure(
    curves: pd.DataFrame,
    domain: str,
    quantity: Quantity,
    *,
    x: Axis = "epoch",
    scale: Scale = "linear",
    title: str = "",
) -> Figure:
    """Learning curves: a column per regime, a row per model, a line per iteration (the paper's Figs. 3 and 9-12).

    A study of one iteration compares trainings: its models depend on neither regime nor sampling, and share one panel,
    a line per model.

    Strong lines are means over seeds, up to the last evaluation that all of them have; faint lines are single seeds.
    Evaluations of different seeds are matched by their index: the same share of the run, if not always the same step.

    Args:
        curves: the tidy table of learning curves.
        domain: the domain to draw.
        quantity: what to draw, such as the cross-entropy on the test split or the loss on the train split.
        x: the horizontal axis. At equal epochs accumulate has taken more steps than replace, for its data grow.
        scale: of both axes; "log" leaves out what is not positive, such as an evaluation before the first step.
        title: above the panels; none if empty.

    Raises:
        UserError: the table has no such values.
    """
    rows = require(curves, domain, quantity)
    if scale == "log":
        rows = rows[(rows[x] > 0) & ~(rows["value"] <= 0)]
        if not (rows["value"] > 0).any():
            raise UserError(
                f"no positive {x} and {quantity.metric} in domain {domain}: a log scale has nothing to show"
            )
    if rows["iteration"].max() == 1:
        return _trainings(rows, quantity, x, scale, title)
    series = in_order(rows["series"])
    regimes = regimes_in_order(rows["regime"])
    last = int(rows["iteration"].max())
    colours = ListedColormap(colormaps["viridis"](np.linspace(0, 0.92, last)))
    figure = Figure(figsize=(PANEL[0] * max(2, len(regimes)) + 0.9, PANEL[1] * len(series) + 0.6), layout="constrained")
    grid = figure.subplots(len(series), len(regimes), squeeze=False, sharex=True, sharey="row")
    for row, name in enumerate(series):
        grid[row, 0].set_ylabel(wrapped(name, 30))
        for axes, regime in zip(grid[row], regimes, strict=True):
            if row == 0:
                axes.set_title(wrapped(regime_title(regime), 24))
            chain = rows[(rows["series"] == name) & (rows["regime"] == regime)]
            for iteration, own in chain.groupby("iteration"):
                _curve(axes, own, x, str(iteration), Mark(to_hex(colours(int(str(iteration)) - 1)), ""))
            _scale(axes, scale)
    figure.supxlabel(AXIS_NAMES[x], fontsize="medium")
    figure.supylabel(quantity.axis, fontsize="medium")
    add_title(figure, title)
    steps = ScalarMappable(BoundaryNorm(np.arange(last + 1) + 0.5, last), colours)
    note = " (faint lines: single seeds)" if rows["seed"].nunique() > 1 else ""
    bar = figure.colorbar(steps, ax=grid, aspect=30, label=wrapped(f"Model-fitting iteration{note}", 30))
    bar.ax.yaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    bar.ax.tick_params(which="both", length=0)
    bar.ax.minorticks_off()
    return figure


def _trainings(rows: pd.DataFrame, quantity: Quantity, x: Axis, scale: Scale, title: str) -> Figure:
    """One panel, a line per model, for a study in which every chain is its first model."""
    labels = in_order(rows["label"])
    marks = model_marks(labels)
    figure = Figure(figsize=(4 * PANEL[0], 2 * PANEL[1]), layout="constrained")
    axes = figure.subplots()
    for label in labels:
        own = rows[rows["label"] == label].drop_duplicates(["seed", "step"])
        _curve(axes, own, x, wrapped(label, 30), marks[label])
    _scale(axes, scale)
    axes.set_xlabel(AXIS_NAMES[x])
    axes.set_ylabel(quantity.axis)
    add_title(figure, title)
    note = "\n(faint lines: single seeds)" if rows["seed"].nunique() > 1 else ""
    figure.legend(loc="outside right upper", title=f"Model{note}")
    return figure


def _scale(axes: Axes, scale: Scale) -> None:
    if scale == "log":
        scale_values(axes, "log")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _curve(axes: Axes, rows: pd.DataFrame, x: str, name: str, mark: Mark) -> None:
    seeds = [own.sort_values("step") for _, own in rows.groupby("seed")]
    if len(seeds) > 1:
        for own in seeds:
            axes.plot(own[x], own["value"], color=mark.colour, linewidth=0.5, alpha=0.4)
    common = min(map(len, seeds))
    where = np.mean([own[x].to_numpy(float)[:common] for own in seeds], axis=0)
    values = pd.DataFrame([own["value"].to_numpy(float)[:common] for own in seeds]).mean(axis=0)  # without NaN
    axes.plot(where, values, color=mark.colour, label=name, marker="." if common == 1 else mark.marker)
