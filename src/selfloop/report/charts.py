"""Charts that answer the pointer: values on hover, regimes and models on and off. Drawn in the browser by Bokeh."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bokeh.embed import json_item
from bokeh.models import AdaptiveTicker, ColumnDataSource, HoverTool
from bokeh.plotting import figure
from bokeh.resources import Resources

from selfloop.analysis.read import in_order, over_seeds, regimes_in_order
from selfloop.analysis.style import Mark, regime_marks

_MARKERS = {"o": "circle", "s": "square", "^": "triangle", "D": "diamond", "v": "inverted_triangle"}
_MARKERS |= {"P": "cross", "X": "x", "*": "star"}
_DASHES = ("solid", "dashed", "dotted", "dotdash", "dashdot")
MOST_SEEDS = 10  # of more seeds the range says little, and the band is the middle half
MOST_SERIES = 8  # more lines of one regime than this are a tangle


def library() -> str:
    """The script that draws the charts, whole, so that the page needs no network."""
    return "\n".join(
        Path(path).read_text(encoding="utf-8") for path in Resources(mode="absolute", components=["bokeh"]).js_files
    )


def headline_chart(
    rows: pd.DataFrame, regimes: Sequence[str], paper: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """A quantity against the iteration: a line per regime and series, its band the range over seeds.

    Args:
        rows: as `content.rows_of` gives them; at most `MOST_SERIES` series.
        regimes: all regimes of the study, so that they look the same in all its charts.
        paper: the paper's values of the same setting, with regime, series, iteration, value.

    Returns:
        regimes and series (the toggles, in order, each regime with its colour), band (what bands are) and item,
        what `Bokeh.embed` takes.
        The glyphs bear tags [regime, series].
    """
    marks = regime_marks(regimes)
    rows = rows.assign(value=rows["value"].where(np.isfinite(rows["value"].to_numpy(float))))
    series = in_order(rows["series"])
    dashes = {name: _DASHES[place % len(_DASHES)] for place, name in enumerate(series)}
    plot = figure(
        height=380,
        sizing_mode="stretch_width",
        tools="box_zoom,reset",
        active_drag=None,  # a finger that drags scrolls the page
        toolbar_location="above",
        x_axis_label=None,  # the page names the axes: horizontally, and as text that can be selected
        y_axis_label=None,
        y_axis_type="log" if _wide(rows) else "linear",
    )
    plot.toolbar.logo = None
    plot.xaxis.ticker = AdaptiveTicker(mantissas=[1, 2, 5], min_interval=1, num_minor_ticks=0)
    plot.xgrid.grid_line_color = plot.ygrid.grid_line_color = "#E3E3E3"
    hovered = []
    many = int(rows["iteration"].max()) > 20
    middle = rows["seed"].nunique() > MOST_SEEDS
    for regime in regimes_in_order(rows["regime"]):
        for name in series:
            own = rows[(rows["regime"] == regime) & (rows["series"] == name)]
            if own["value"].notna().any():
                hovered.append(_line(plot, own, regime, name, marks[regime], dashes[name], many, middle))
    for value in paper:
        _published(plot, value, marks[value["regime"]])
    plot.add_tools(
        HoverTool(
            renderers=hovered,
            tooltips=[
                ("", "@regime, @series"),
                ("iteration", "@iteration"),
                ("mean", "@mean{0.[0000]}"),
                ("seeds", "@seeds, from @low{0.[0000]} to @high{0.[0000]}"),
            ],
            mode="mouse",
            visible=False,
        )
    )
    shown = regimes_in_order(rows["regime"])
    return {
        "regimes": [{"name": name, "colour": marks[name].colour} for name in shown],
        "series": [{"name": name, "dash": dashes[name]} for name in series],
        "band": "the middle half of the seeds" if middle else "the range from the lowest to the highest seed",
        "item": json_item(plot),
    }


def _wide(rows: pd.DataFrame) -> bool:
    """Whether means lie so far apart that only a logarithmic axis shows them."""
    means = rows.groupby(["regime", "series", "iteration"])["value"].mean().dropna()
    return bool(len(means)) and bool(means.min() > 0) and bool(means.max() / means.min() > 30)


def _line(plot: Any, own: pd.DataFrame, regime: str, name: str, mark: Mark, dash: str, many: bool, middle: bool) -> Any:
    points = over_seeds(own).reset_index()
    if middle:
        for end, share in (("low", 0.25), ("high", 0.75)):
            points[end] = points["iteration"].map(own.groupby("iteration")["value"].quantile(share))
    seeds = own[own["value"].notna()].groupby("iteration").size()
    points["seeds"] = points["iteration"].map(seeds).fillna(0).astype(int)
    source = ColumnDataSource(
        {
            **{column: points[column].tolist() for column in ("iteration", "mean", "low", "high", "seeds")},
            "regime": [regime] * len(points),
            "series": [name] * len(points),
        }
    )
    tags = [regime, name]
    if own["seed"].nunique() > 1:
        plot.varea("iteration", "low", "high", source=source, fill_color=mark.colour, fill_alpha=0.15, tags=tags)
    plot.line("iteration", "mean", source=source, color=mark.colour, line_width=2, line_dash=dash, tags=tags)
    size = 3 if many else 8
    return plot.scatter(
        "iteration", "mean", source=source, color=mark.colour, marker=_MARKERS[mark.marker], size=size, tags=tags
    )


def _published(plot: Any, value: Mapping[str, Any], mark: Mark) -> None:
    source = ColumnDataSource({key: [value[key]] for key in ("iteration", "value")})
    tags = [value["regime"], value["series"]]
    plot.scatter(
        "iteration", "value", source=source, marker="star", size=14, fill_color=None, line_color=mark.colour, tags=tags
    )
