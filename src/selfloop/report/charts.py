"""Interactive charts, drawn in the browser by Bokeh: values on hover, regimes and models to toggle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pandas as pd
from bokeh.embed import json_item
from bokeh.models import AdaptiveTicker, ColumnDataSource, HoverTool
from bokeh.models.renderers import DataRenderer
from bokeh.plotting import figure
from bokeh.resources import Resources

from selfloop.analysis.read import by_seed, in_order, over_seeds, regimes_in_order
from selfloop.analysis.style import LINES, Mark, regime_marks
from selfloop.data.published import Published

# Bokeh's names of the markers of `analysis.style`.
MARKERS = {"o": "circle", "s": "square", "^": "triangle", "D": "diamond", "v": "inverted_triangle"}
MARKERS |= {"P": "plus", "X": "x", "*": "star", "h": "hex", "1": "y", "p": "square_pin", "d": "diamond_dot"}
MOST_SEEDS = 10  # more are not drawn as points
MOST_SERIES = 8  # more lines per regime are hard to tell apart


@dataclass(frozen=True)
class Chart:
    """A chart as the page needs it.

    Attributes:
        regimes: the colours of the regimes to toggle, by name.
        series: the dash patterns of the series to toggle, by name.
        spread: what shows how seeds differ.
        item: the argument of `Bokeh.embed`; its glyphs have tags [regime, series].
        left_out: the number of series that are not drawn.
        published: whether the paper's values are drawn.
    """

    regimes: Mapping[str, str]
    series: Mapping[str, str]
    spread: str
    item: Mapping[str, object]
    left_out: int
    published: bool


def library() -> str:
    """Bokeh's script in full, so that the page needs no network."""
    files = Resources(mode="absolute", components=["bokeh"]).js_files
    return "\n".join(Path(path).read_text(encoding="utf-8") for path in files)


def headline_chart(rows: pd.DataFrame, regimes: Sequence[str], published: Sequence[Published] = ()) -> Chart:
    """A quantity against the iteration: a line per regime and series, with the 95% interval and the seeds as points.

    Args:
        rows: as `read.select` gives them.
        regimes: all regimes of the study, so that they look the same in all charts.
        published: the paper's values, with experiment, sampling, regime, iteration, value; drawn if in `rows`.
    """
    marks = regime_marks(regimes)
    every = in_order(rows["series"])
    dashes = dict(zip(every[:MOST_SERIES], cycle(LINES), strict=False))
    rows = rows[rows["series"].isin(dashes)]
    plot: Any = figure(
        height=380,
        sizing_mode="stretch_width",
        tools="box_zoom,reset",
        active_drag=None,  # on a touch screen, dragging scrolls the page
        toolbar_location="above",
        x_axis_label=None,  # the page labels the axes, as horizontal, selectable text
        y_axis_label=None,
        y_axis_type="log" if _wide(rows) else "linear",
    )
    plot.toolbar.logo = None
    plot.xaxis.ticker = AdaptiveTicker(mantissas=[1, 2, 5], min_interval=1, num_minor_ticks=0)
    plot.xgrid.grid_line_color = plot.ygrid.grid_line_color = "#E3E3E3"
    size = 3 if rows["iteration"].max() > 20 else 8
    as_points = rows["seed"].nunique() <= MOST_SEEDS
    shown = regimes_in_order(rows["regime"])
    hovered: list[DataRenderer] = []
    for regime in shown:
        for name, dash in dashes.items():
            own = rows[(rows["regime"] == regime) & (rows["series"] == name)]
            if own["value"].notna().any():
                hovered.append(_line(plot, own, [regime, name], marks[regime], dash, size, as_points))
    places = dict(zip(zip(rows["experiment"], rows["sampling"], strict=True), rows["series"], strict=True))
    values = [value for value in published if (value["experiment"], value["sampling"]) in places]
    for value in values:
        tags = [value["regime"], places[value["experiment"], value["sampling"]]]
        colour = marks[value["regime"]].colour
        source = ColumnDataSource({"iteration": [value["iteration"]], "value": [value["value"]]})
        star = {"marker": "star", "size": 14, "fill_color": None, "line_color": colour}
        plot.scatter("iteration", "value", source=source, tags=tags, **star)
    tooltips = [
        ("", "@regime, @series"),
        ("iteration", "@iteration"),
        ("mean", "@mean{0.[0000]}"),
        ("95% interval", "@low{0.[0000]} to @high{0.[0000]}"),
        ("seeds", "@seeds"),
    ]
    plot.add_tools(HoverTool(renderers=hovered, tooltips=tooltips, mode="mouse", visible=False))
    return Chart(
        regimes={name: marks[name].colour for name in shown},
        series=dashes,
        spread="points seeds, bars the 95% interval of the mean" if as_points else "bands its 95% interval",
        item=json_item(plot),
        left_out=len(every) - len(dashes),
        published=bool(values),
    )


def _wide(rows: pd.DataFrame) -> bool:
    """Whether means are so far apart that only a logarithmic axis shows them."""
    means = rows.groupby(["regime", "series", "iteration"])["value"].mean().dropna()
    return bool(len(means)) and bool(means.min() > 0) and bool(means.max() / means.min() > 30)


def _line(
    plot: Any, own: pd.DataFrame, tags: list[str], mark: Mark, dash: str, size: int, as_points: bool
) -> DataRenderer:
    """Draw a line, its interval, its seeds and its markers; returns the markers."""
    points = over_seeds(own).reset_index().assign(regime=tags[0], series=tags[1])
    source = ColumnDataSource({str(name): values.tolist() for name, values in points.items()})
    if own["seed"].nunique() > 1 and as_points:
        plot.segment("iteration", "low", "iteration", "high", source=source, color=mark.colour, tags=tags)
        seeds = by_seed(own).reset_index()
        values = ColumnDataSource({name: seeds[name].tolist() for name in ("iteration", "value")})
        plot.scatter("iteration", "value", source=values, size=3, color=mark.colour, alpha=0.6, tags=tags)
    elif own["seed"].nunique() > 1:
        plot.varea("iteration", "low", "high", source=source, fill_color=mark.colour, fill_alpha=0.15, tags=tags)
    plot.line("iteration", "mean", source=source, color=mark.colour, line_width=2, line_dash=dash, tags=tags)
    marker = {"color": mark.colour, "marker": MARKERS[mark.marker], "size": size}
    markers: DataRenderer = plot.scatter("iteration", "mean", source=source, tags=tags, **marker)
    return markers
