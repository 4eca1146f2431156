"""Figures of measurements against the iteration, from a tidy table."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from selfloop.analysis.read import by_seed, groups, in_order, over_seeds, regimes_in_order, require, select
from selfloop.analysis.style import (
    PANEL,
    Coloured,
    LineStyle,
    Mark,
    Style,
    add_title,
    axis_label,
    line_styles,
    model_marks,
    regime_marks,
    regime_title,
    styled,
    wrapped,
)
from selfloop.data.published import Published
from selfloop.data.quantity import Quantity
from selfloop.errors import UserError

SEEDS, INTERVAL = "a seed", "95% interval of the mean"
SEED_MARK: Style = {"marker": "_", "markersize": 5, "linestyle": "none", "markeredgewidth": 0.8}
PAPER = "the paper, same setting"
PAPER_MARK: Style = {"marker": "*", "markersize": 9, "markerfacecolor": "none", "linestyle": "none"}
REAL = "held-out real data"
REAL_MARK: Coloured = {"color": "#000000", "linestyle": ":", "linewidth": 1.2}
TITLE = 30  # characters in a line of a panel's title
LEGEND_LINE, LEGEND_SPACE = 0.12, 0.05  # inches: height of a legend's line, and space between entries


@styled
def headline_figure(
    metrics: pd.DataFrame,
    domain: str,
    quantity: Quantity,
    *,
    title: str = "",
    published: Sequence[Published] = (),
) -> Figure:
    """A quantity against the iteration, one panel per regime and one line per model (the paper's Fig. 2).

    Lines are means over seeds, points the seeds, bars the 95% interval of the mean. Dash patterns tell samplings apart.
    Missing and NaN values are gaps.

    Args:
        metrics: the tidy table of measurements.
        domain: the domain to draw.
        quantity: its headline metric, or another measurement of the model itself.
        title: above the panels; none if empty.
        published: the paper's values in the same setting, with experiment, sampling, regime, iteration and value; they
            are drawn as hollow stars in their model's colour.

    Raises:
        UserError: the table has no such values.
    """
    rows = require(metrics, domain, quantity)
    marks = model_marks(in_order(rows["label"]))
    dashes = line_styles(in_order(rows["sampling"]))
    regimes = regimes_in_order(rows["regime"])
    figure, panels = _panels(len(regimes), share_y=True)
    several = False
    for regime, axes in zip(regimes, panels, strict=True):
        axes.set_title(wrapped(regime_title(regime), 24))
        own = rows[rows["regime"] == regime]
        for (label, sampling, series), line in groups(own, ["label", "sampling", "series"]):
            several |= _line(axes, line, series, marks[label], dashes[sampling])
        for value in published:
            of = own[(own["experiment"] == value["experiment"]) & (own["sampling"] == value["sampling"])]
            if len(of) and value["regime"] == regime:
                colour = marks[str(of["label"].iloc[0])].colour
                axes.plot(value["iteration"], value["value"], color=colour, **PAPER_MARK)
        _mark_iterations(axes, rows["iteration"])
    figure.supylabel(axis_label(quantity), fontsize="medium")
    add_title(figure, title)
    _legends(figure, "Model", marks, dashes, several, bool(published))
    return figure


@styled
def synthetic_figure(
    metrics: pd.DataFrame,
    domain: str,
    quantities: Sequence[Quantity],
    *,
    title: str = "",
    real: Mapping[str, float] | None = None,
) -> Figure:
    """Quality and diversity of synthetic data against the iteration that made it: one panel per quantity.

    Colour and marker tell regimes apart, dash patterns models and samplings. Parts of one iteration are averaged. Each
    panel has its own vertical axis.

    Args:
        metrics: the tidy table of measurements.
        domain: the domain to draw.
        quantities: the panels; one that has not been measured is left out if another has.
        title: above the panels; none if empty.
        real: by metric, the value of held-out real data, which is drawn as a dotted line.

    Raises:
        UserError: the table has none of the quantities.
    """
    if not quantities:
        raise UserError(f"no quantity to draw in domain {domain}; at least one is needed")
    selected = {quantity: select(metrics, domain, quantity) for quantity in quantities}
    shown = {quantity: rows for quantity, rows in selected.items() if len(rows)}
    shown = shown or {quantities[0]: require(metrics, domain, quantities[0])}
    everything = pd.concat(shown.values(), ignore_index=True)
    marks = regime_marks(metrics["regime"])
    dashes = line_styles(in_order(everything["series"]))
    drawn = {regime: marks[regime] for regime in regimes_in_order(everything["regime"])}
    figure, panels = _panels(len(shown), share_y=False)
    several = False
    for (quantity, rows), axes in zip(shown.items(), panels, strict=True):
        axes.set_title(wrapped(quantity.axis, TITLE))
        for regime, mark in drawn.items():
            for (series,), line in groups(rows[rows["regime"] == regime], ["series"]):
                several |= _line(axes, line, f"{regime}, {series}", mark, dashes[series])
        if real is not None and quantity.metric in real:
            axes.axhline(real[quantity.metric], **REAL_MARK)
        _mark_iterations(axes, everything["iteration"])
    add_title(figure, title)
    titled = {regime_title(regime): mark for regime, mark in drawn.items()}
    _legends(figure, "Regime", titled, dashes, several, real=real is not None)
    return figure


def _line(axes: Axes, rows: pd.DataFrame, name: str, mark: Mark, dash: LineStyle) -> bool:
    """Draw the mean over seeds, its interval, and the seeds as points; True if there are several."""
    points = over_seeds(rows)
    axes.plot(points.index, points["mean"], label=name, color=mark.colour, marker=mark.marker, linestyle=dash)
    if rows["seed"].nunique() < 2:
        return False
    axes.vlines(points.index, points["low"], points["high"], color=mark.colour, linewidth=0.8)
    seeds = by_seed(rows)
    axes.plot(seeds.index.get_level_values("iteration"), seeds, color=mark.colour, **SEED_MARK)
    return True


def _panels(count: int, share_y: bool) -> tuple[Figure, list[Axes]]:
    """Panels in rows of at most three, which fit a text width."""
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
    marks: Mapping[str, Mark],
    dashes: Mapping[str, LineStyle],
    several: bool,
    paper: bool = False,
    real: bool = False,
) -> None:
    """Right of the panels: colours above; dash patterns (if several), seeds and stars below."""
    lines = [Line2D([], [], color=mark.colour, marker=mark.marker, label=name) for name, mark in marks.items()]
    titles = [wrapped(name, 24) for name in marks]
    figure.legend(lines, titles, title=heading, loc="outside right upper")
    notes: list[Artist] = []
    if len(dashes) > 1:
        notes += [Line2D([], [], color="#555555", linestyle=dash, label=name) for name, dash in dashes.items()]
    if several:
        notes += [Line2D([], [], color="#555555", label=SEEDS, **SEED_MARK)]
        notes += [Line2D([], [], color="#555555", label=INTERVAL, linestyle="none", marker="|", markersize=9)]
    notes += [Line2D([], [], color="#555555", label=PAPER, **PAPER_MARK)] if paper else []
    notes += [Line2D([], [], label=REAL, **REAL_MARK)] if real else []
    names = [wrapped(str(note.get_label()), 24) for note in notes]
    if notes:
        figure.legend(notes, names, loc="outside right lower")
    # Room for both, one above the other.
    height = 0.6 + sum(LEGEND_LINE * (name.count("\n") + 1) + LEGEND_SPACE for name in (*titles, *names))
    figure.set_figheight(max(figure.get_figheight(), height))
