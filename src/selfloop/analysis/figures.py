"""Figures of measurements against the iteration. A tidy table goes in, a figure comes out; `style.save` writes it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from selfloop.analysis.read import in_order, over_seeds, regimes_in_order, select
from selfloop.analysis.style import (
    PANEL,
    LineStyle,
    Mark,
    Scale,
    add_title,
    axis_label,
    line_styles,
    model_marks,
    regime_marks,
    regime_title,
    scale_values,
    series_name,
    styled,
    wrapped,
)
from selfloop.data.quantity import Quantity
from selfloop.errors import UserError

BAND = "lowest to highest seed"
PAPER = "the paper, same setting"
PAPER_MARK: dict[str, Any] = {"marker": "*", "markersize": 9, "markerfacecolor": "none", "linestyle": "none"}
LEGEND_LINE, LEGEND_SPACE = 0.12, 0.05  # inches: of a line of a legend, and between two entries


@styled
def headline_figure(
    metrics: pd.DataFrame,
    domain: str,
    quantity: Quantity,
    *,
    title: str = "",
    scale: Scale = "linear",
    published: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """A quantity against the iteration, one panel per regime and one line per model (the paper's Fig. 2).

    A line is the mean over seeds, its band the range from the lowest to the highest seed. Several samplings differ by
    dash pattern. Missing and NaN values are gaps.

    Args:
        metrics: the table of `read.read_metrics`.
        domain: the domain to draw.
        quantity: its headline metric, or another measurement of the model itself.
        title: above the panels; none if empty.
        scale: of the vertical axis.
        published: the paper's values of experiments that have its setting, with experiment, sampling, regime, iteration
            and value; they are hollow stars in their model's colour.

    Raises:
        UserError: the table has no such values.
    """
    rows = select(metrics, domain, quantity, keys=["part"])
    marks = model_marks(in_order(rows["label"]))
    dashes = line_styles(in_order(rows["sampling"]))
    regimes = regimes_in_order(rows["regime"])
    figure, panels = _panels(len(regimes), share_y=True)
    banded = False
    for regime, axes in zip(regimes, panels, strict=True):
        axes.set_title(wrapped(regime_title(regime), 24))
        own = rows[rows["regime"] == regime]
        for label, mark in marks.items():
            for sampling, dash in dashes.items():
                line = own[(own["label"] == label) & (own["sampling"] == sampling)]
                banded |= _line(axes, line, series_name(label, sampling, len(dashes)), mark, dash)
        _published(axes, own, published, marks)
        scale_values(axes, scale)
        _mark_iterations(axes, rows["iteration"])
    figure.supylabel(axis_label(quantity), fontsize="medium")
    add_title(figure, title)
    _legends(figure, "Model", marks, dashes, banded, bool(published))
    return figure


@styled
def synthetic_figure(
    metrics: pd.DataFrame,
    domain: str,
    quantities: Sequence[Quantity],
    *,
    title: str = "",
    experiment: str | None = None,
) -> Figure:
    """Quality and diversity of synthetic data against the iteration that made it: one panel per quantity.

    Colour and marker tell regimes apart; models (and samplings, where there are several) differ by dash pattern. Parts
    of one iteration are averaged. Each panel has its own vertical axis.

    Args:
        metrics: the table of `read.read_metrics`.
        domain: the domain to draw.
        quantities: the panels; one that the table does not hold stays away if another is there.
        title: above the panels; none if empty.
        experiment: draw only this one, where all together are too many lines.

    Raises:
        UserError: the table has none of the quantities.
    """
    if not quantities:
        raise UserError(f"no quantity to draw in domain {domain}; at least one is needed")
    chosen = metrics[(metrics["domain"] == domain) & (metrics["experiment"] == (experiment or metrics["experiment"]))]
    there = set(zip(chosen["metric"], chosen["split"], strict=True))
    # Where none is there, selecting the first raises the error that says what there is.
    shown = [each for each in quantities if (each.metric, each.split) in there] or quantities[:1]
    everything = pd.concat([select(metrics, domain, each, experiment, ["part"]) for each in shown], ignore_index=True)
    samplings = in_order(everything["sampling"])
    everything["series"] = [
        series_name(label, sampling, len(samplings))
        for label, sampling in zip(everything["label"], everything["sampling"], strict=True)
    ]
    marks = regime_marks(metrics["regime"])
    dashes = line_styles(in_order(everything["series"]))
    drawn = {regime: marks[regime] for regime in regimes_in_order(everything["regime"])}
    figure, panels = _panels(len(shown), share_y=False)
    banded = False
    for quantity, axes in zip(shown, panels, strict=True):
        axes.set_title(wrapped(quantity.axis, 30))
        own = everything[(everything["metric"] == quantity.metric) & (everything["split"] == quantity.split)]
        for regime, mark in drawn.items():
            for series, dash in dashes.items():
                line = own[(own["regime"] == regime) & (own["series"] == series)]
                banded |= _line(axes, line, f"{regime}, {series}", mark, dash)
        _mark_iterations(axes, everything["iteration"])
    add_title(figure, title)
    _legends(figure, "Regime", {regime_title(regime): mark for regime, mark in drawn.items()}, dashes, banded)
    return figure


def _line(axes: Axes, rows: pd.DataFrame, name: str, mark: Mark, dash: LineStyle) -> bool:
    """Draw the mean over seeds and the band around it; True if there is a band."""
    if rows.empty:
        return False
    points = over_seeds(rows)
    axes.plot(points.index, points["mean"], label=name, color=mark.colour, marker=mark.marker, linestyle=dash)
    if rows["seed"].nunique() < 2:
        return False
    axes.fill_between(points.index, points["low"], points["high"], color=mark.colour, alpha=0.2, linewidth=0)
    if points["mean"].notna().sum() == 1:  # a band has no width at a single iteration
        axes.vlines(points.index, points["low"], points["high"], color=mark.colour, linewidth=1)
    return True


def _published(
    axes: Axes, rows: pd.DataFrame, published: Sequence[Mapping[str, Any]], marks: Mapping[str, Mark]
) -> None:
    """The paper's values beside the rows of one regime that have their setting."""
    for value in published:
        own = rows[(rows["experiment"] == value["experiment"]) & (rows["sampling"] == value["sampling"])]
        own = own[own["regime"] == value["regime"]]
        if len(own):
            colour = marks[str(own["label"].iloc[0])].colour
            axes.plot(value["iteration"], value["value"], color=colour, **PAPER_MARK)


def _panels(count: int, share_y: bool) -> tuple[Figure, list[Axes]]:
    """Panels by rows of at most three, the most that a text width holds."""
    columns = min(count, 3)
    lines = -(-count // columns)
    figure = Figure(figsize=(PANEL[0] * max(columns, 1.4) + 1.5, PANEL[1] * lines + 0.5), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False, sharey=share_y).flat)
    for spare in grid[count:]:
        spare.remove()
    for axes in grid[max(0, count - columns) : count]:  # those with no panel below
        axes.set_xlabel("Model-fitting iteration")
    return figure, grid[:count]


def _mark_iterations(axes: Axes, iterations: pd.Series) -> None:
    first, last = int(iterations.min()), int(iterations.max())
    axes.set_xlim(first - 0.3, last + 0.3)
    if last - first < 8:
        axes.set_xticks(range(first, last + 1))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))


def _legends(
    figure: Figure,
    heading: str,
    marks: dict[str, Mark],
    dashes: dict[str, LineStyle],
    banded: bool,
    paper: bool = False,
) -> None:
    """Colours above, dash patterns (if there are several) and the meaning of the band below, right of the panels."""
    lines = [Line2D([], [], color=mark.colour, marker=mark.marker, label=name) for name, mark in marks.items()]
    titles = [wrapped(name, 24) for name in marks]
    figure.legend(lines, titles, title=heading, loc="outside right upper")
    notes: list[Artist] = []
    if len(dashes) > 1:
        notes += [Line2D([], [], color="#555555", linestyle=dash, label=name) for name, dash in dashes.items()]
    notes += [Patch(color="#555555", alpha=0.3, linewidth=0, label=BAND)] if banded else []
    notes += [Line2D([], [], color="#555555", label=PAPER, **PAPER_MARK)] if paper else []
    names = [wrapped(str(note.get_label()), 24) for note in notes]
    if notes:
        figure.legend(notes, names, loc="outside right lower")
    # The two stand one above the other, however many lines they have.
    height = 0.6 + sum(LEGEND_LINE * (name.count("\n") + 1) + LEGEND_SPACE for name in (*titles, *names))
    figure.set_figheight(max(figure.get_figheight(), height))
