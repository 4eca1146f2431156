"""Figures of the collapse profile, from its tidy table. Values of held-out real data are lines in each."""

from collections.abc import Iterable, Iterator, Mapping

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from selfloop.analysis.figures import REAL, REAL_MARK, TITLE, synthetic_figure
from selfloop.analysis.read import groups, names_of, regimes_in_order
from selfloop.analysis.style import PANEL, Coloured, Style, add_title, regime_title, styled, wrapped
from selfloop.data.profile import Measure
from selfloop.data.quantity import Quantity
from selfloop.errors import UserError

SPLIT = "synthetic"
COLUMNS = 4
REFEREE = "a trigram of held-out real text"
EVEN_MARK: Coloured = {"color": "#999999", "linewidth": 0.8, "zorder": 0}
SCALE = "viridis"  # of iterations and bands, from first to last


def measures_figure(profile: pd.DataFrame, domain: str, measures: Iterable[Measure], title: str = "") -> Figure:
    """Measures against the iteration, a panel each; dotted lines are held-out real data, grey ones `Measure.even`.

    Raises:
        UserError: none of them has been measured.
    """
    own = profile[(profile["domain"] == domain) & profile["at"].isna()]
    quantities = {each: Quantity(each.name, SPLIT, each.label, each.unit) for each in measures}
    rows = own.rename(columns={"measure": "metric"}).assign(part=0, split=SPLIT)
    real = {str(name): float(value) for name, value in own.groupby("measure")["real"].mean().dropna().items()}
    figure = synthetic_figure(rows, domain, list(quantities.values()), title=title, real=real)
    even = {wrapped(of.axis, TITLE): each.even for each, of in quantities.items() if each.even is not None}
    for axes in figure.axes:
        if axes.get_title() in even:
            axes.axhline(even[axes.get_title()], **EVEN_MARK)
    return figure


@styled
def curves_figure(
    profile: pd.DataFrame, domain: str, measure: str, x: str, y: str, *, title: str = "", log: bool = False
) -> Figure:
    """A measure of many values against where it was taken: a panel per model and regime, a line per iteration.

    Lines are means over seeds; the dotted one is held-out real data.

    Args:
        profile: the tidy table.
        domain, measure: what to draw.
        x, y: labels of the axes.
        title: above the panels; none if empty.
        log: whether both axes are logarithmic.

    Raises:
        UserError: it has not been measured.
    """
    rows = _of(profile, domain, measure)
    figure, panels = _panels(rows)
    last = int(rows["iteration"].max())
    for axes, own in panels:
        for iteration, at in _parts(own, "iteration"):
            line = at.groupby("at")["value"].mean()
            axes.plot(line.index, line, color=_colour(iteration, last), linewidth=1.1)
        line = own.groupby("at")["real"].mean()
        axes.plot(line.index, line, **REAL_MARK)
        if log:
            axes.set_xscale("log")
            axes.set_yscale("log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(StrMethodFormatter("{x:g}"))
                axis.set_minor_formatter(NullFormatter())
    shown = rows.groupby("at")[["value", "real"]].max().max(axis=1)
    shown = shown[shown > 0]
    if len(shown) > 1:
        for axes, _ in panels:
            axes.set_xlim(shown.index.min(), shown.index.max())
    _finish(figure, x, y, {f"iteration {n}": _colour(n, last) for n in sorted(set(rows["iteration"]))}, title)
    return figure


@styled
def bands_figure(profile: pd.DataFrame, domain: str, measure: str, y: str, *, title: str = "") -> Figure:
    """A measure by band against the iteration: a panel per model and regime, a line per band.

    Lines are means over seeds; dotted ones are what the referee makes of held-out real data in the same band.

    Raises:
        UserError: it has not been measured.
    """
    rows = _of(profile, domain, measure)
    figure, panels = _panels(rows)
    bands = sorted(set(rows["at"]))
    colours = {band: _colour(place, len(bands)) for place, band in enumerate(bands, start=1)}
    for axes, own in panels:
        for band, at in _parts(own, "at"):
            line = at.groupby("iteration")["value"].mean()
            axes.plot(line.index, line, color=colours[band], marker="o", markersize=3)
            style: Coloured = {**REAL_MARK, "color": colours[band]}
            axes.axhline(float(at["real"].mean()), **style)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ends = {bands[0]: " (rarest tokens)", bands[-1]: " (most frequent)"}
    names = {f"band {band:g}{ends.get(band, '')}": colours[band] for band in bands}
    _finish(figure, "Model-fitting iteration", y, names, title, real=REFEREE)
    return figure


@styled
def map_figure(profile: pd.DataFrame, domain: str, measures: tuple[str, str], *, title: str = "") -> Figure:
    """A map of samples of the first seed: where they lie in two directions, by iteration, over held-out real data.

    Raises:
        UserError: it has not been measured.
    """
    across, up = (_of(profile, domain, measure) for measure in measures)
    across, up = (each[each["seed"] == each["seed"].min()] for each in (across, up))
    figure, panels = _panels(across)
    last = int(across["iteration"].max())
    keys = ["experiment", "model", "regime", "sampling", "iteration", "at"]
    whole = across.merge(up[[*keys, "value", "real"]], on=keys, suffixes=("", "_up"))
    for axes, own in panels:
        same = whole[(whole["series"] == own["series"].iloc[0]) & (whole["regime"] == own["regime"].iloc[0])]
        axes.scatter(same["real"], same["real_up"], s=9, facecolors="none", edgecolors="#000000", linewidths=0.4)
        for iteration, at in _parts(same, "iteration"):
            axes.scatter(at["value"], at["value_up"], s=4, color=_colour(iteration, last))
        for limits, low, high in ((axes.set_xlim, "value", "real"), (axes.set_ylim, "value_up", "real_up")):
            least, most = float(whole[[low, high]].min().min()), float(whole[[low, high]].max().max())
            limits(least - 0.05 * (most - least), most + 0.05 * (most - least))
    colours = {f"iteration {n}": _colour(n, last) for n in sorted(set(across["iteration"]))}
    _finish(figure, "First principal component", "Second", colours, title, marks=True)
    return figure


def _of(profile: pd.DataFrame, domain: str, measure: str) -> pd.DataFrame:
    """The rows of a measure, with the `series` of each.

    Raises:
        UserError: there are none.
    """
    own = profile[profile["domain"] == domain]
    rows = own[(own["measure"] == measure) & own["value"].notna()]
    if rows.empty:
        raise UserError(f"no value of {measure} in domain {domain} has been measured")
    names = names_of(own)
    chains = zip(rows["experiment"], rows["model"], rows["sampling"], strict=True)
    return rows.assign(series=[names[chain][1] for chain in chains])


def _panels(rows: pd.DataFrame) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A panel for each series and regime, with its rows."""
    found = list(_in_panels(rows))
    columns = min(COLUMNS, len(found))
    lines = -(-len(found) // columns)
    figure = Figure(figsize=(PANEL[0] * max(columns, 2) + 1.5, PANEL[1] * lines + 0.6), layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
    for spare in grid[len(found) :]:
        spare.remove()
    several = rows["series"].nunique() > 1
    for axes, own in zip(grid, found, strict=False):
        name = regime_title(str(own["regime"].iloc[0]))
        axes.set_title(wrapped(f"{name}, {own['series'].iloc[0]}" if several else name, 24))
        axes.tick_params(labelbottom=True, labelleft=True)
    return figure, list(zip(grid, found, strict=False))


def _in_panels(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    for _, own in groups(rows, ["series"]):
        for regime in regimes_in_order(own["regime"]):
            yield own[own["regime"] == regime]


def _parts(rows: pd.DataFrame, column: str) -> Iterator[tuple[float, pd.DataFrame]]:
    """The rows by a column's numbers, in ascending order."""
    for value, own in rows.groupby(column):
        yield float(str(value)), own


def _colour(place: float, last: float) -> str:
    """The colour of an iteration or band among 1 to `last`."""
    return to_hex(matplotlib.colormaps[SCALE](0.85 * (place - 1) / max(last - 1, 1)))


def _finish(
    figure: Figure, x: str, y: str, colours: Mapping[str, str], title: str, marks: bool = False, real: str = REAL
) -> None:
    figure.supxlabel(x, fontsize="medium")
    figure.supylabel(y, fontsize="medium")
    style: Style = {"marker": "o", "linestyle": "none", "markersize": 4} if marks else {}
    lines = [Line2D([], [], color=colour, label=name, **style) for name, colour in colours.items()]
    circle: Coloured = {
        "marker": "o",
        "linestyle": "none",
        "markerfacecolor": "none",
        "color": "#000000",
        "markersize": 5,
    }
    lines.append(Line2D([], [], label=real, **(circle if marks else REAL_MARK)))
    figure.legend(handles=lines, loc="outside right upper")
    add_title(figure, title)
