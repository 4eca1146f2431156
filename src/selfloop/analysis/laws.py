"""Simulated chains beside the law of their regime: in numbers, and as a figure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from pydantic import BaseModel

from selfloop.analysis.figures import PAPER_MARK
from selfloop.analysis.read import groups, over_seeds, regimes_in_order, select
from selfloop.analysis.style import (
    PANEL,
    Mark,
    Style,
    add_title,
    axis_label,
    regime_marks,
    regime_title,
    scale_values,
    styled,
    wrapped,
)
from selfloop.data.published import PublishedLaw
from selfloop.data.quantity import Quantity
from selfloop.data.tidy import SERIES

KEYS = [*SERIES, "regime"]
MOST_PANELS, COLUMNS = 30, 5
LEGEND = 1.5  # width in inches
BLACK = "#000000"
WIDE = 30.0  # ratio of values from which on their axis is logarithmic
LOOP: Style = {"linestyle": "none", "markersize": 5, "markerfacecolor": "white"}


def comparison(
    metrics: pd.DataFrame, domain: str, quantities: Sequence[Quantity], published: Sequence[PublishedLaw] = ()
) -> pd.DataFrame:
    """Means of simulated chains beside their expected values.

    Returns:
        a row per quantity, experiment, model (the setting), sampling, regime and iteration: metric, seeds, measured
        (mean over seeds), standard_error (of that mean, by the spread of the seeds), expected, and z, their distance in
        standard errors; the last two are missing where there is no law. With `published` values, as `law_figure` takes
        them, also published, and deviation, the standard deviation over seeds.
    """
    tables = []
    for quantity in quantities:
        measured = metrics[metrics["metric"] == quantity.metric]  # of millions of rows
        rows = select(measured, domain, quantity.simulated)
        laws = {key: own for key, own in groups(select(measured, domain, quantity.simulated.exact), KEYS)}
        for key, own in groups(rows, KEYS):
            values = own.groupby("iteration")["value"]  # one per seed
            table = pd.DataFrame({"measured": values.mean(), "standard_error": values.sem(), "seeds": values.count()})
            known = key in laws
            table["expected"] = laws[key].set_index("iteration")["value"] if known else np.nan
            away = table["measured"] - table["expected"]
            # What follows from the table alone, as iteration 1 of given rows, has no spread.
            size = table["expected"].abs()
            exact = (table["standard_error"] <= 1e-9 * size) & (away.abs() < 1e-6 * size)
            table["z"] = (away / table["standard_error"]).where(~exact, 0.0)
            place = dict(zip(KEYS, key, strict=True))
            tables.append(table.reset_index().assign(metric=quantity.metric, **place))
    names = ["metric", *KEYS, "iteration", "seeds", "measured", "standard_error", "expected", "z"]
    if not tables:
        return pd.DataFrame(columns=names)
    found = pd.concat(tables, ignore_index=True)[names]
    if not published:
        return found
    keys = ["metric", "experiment", "model", "regime", "iteration"]
    others = pd.DataFrame(list(published)).rename(columns={"value": "published"})
    found["deviation"] = found["standard_error"] * found["seeds"] ** 0.5
    return found.merge(others[[*keys, "published", "source"]], on=keys, how="left")


class Laws(BaseModel):
    """What a step that shows laws must know of the config; see `law_figure`."""

    quantities: list[Quantity]
    own: list[dict[str, str]]
    published: list[PublishedLaw]


@styled
def law_figure(
    metrics: pd.DataFrame,
    domain: str,
    quantity: Quantity,
    own: Sequence[Mapping[str, str]] = (),
    published: Sequence[PublishedLaw] = (),
    *,
    title: str = "",
) -> Figure | None:
    """A simulated quantity against the iteration, with its laws: a panel per setting, colours by regime.

    Lines are means over seeds, bands their 95% intervals, dashes the laws; points are the loop's own means over seeds.

    Args:
        metrics: the tidy table.
        domain: the domain to draw.
        quantity: as the loop measures it.
        own: {experiment, label} of experiments, the label being the setting whose law holds for their loop, too.
        published: values {experiment, model, regime, iteration, value}, drawn as hollow stars.
        title: above the panels; none if empty.

    Returns:
        None where nothing has been simulated.
    """
    rows = select(metrics, domain, quantity.simulated)
    if rows.empty:
        return None
    laws = select(metrics, domain, quantity.simulated.exact)
    loop = select(metrics, domain, quantity)
    marks = regime_marks(metrics["regime"])
    settings = list(groups(rows, SERIES))[:MOST_PANELS]
    across = min(COLUMNS, len(settings)) if len(settings) > 3 else len(settings)
    down = -(-len(settings) // across)
    width, height = PANEL[0] * max(across, 2) + LEGEND, PANEL[1] * 0.9 * down + 0.7
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
    shown: list[str] = []
    labels = {each["experiment"]: each["label"] for each in own}
    compared = starred = False
    regimes = regimes_in_order(rows["regime"])
    told = {name for name in SERIES if rows[name].nunique() > 1} | {"model"}
    for axes, (key, of) in zip(panels, settings, strict=False):
        experiment, setting, sampling = key
        axes.set_title(wrapped(_named(key, told), 22))
        for regime in regimes:
            line = of[of["regime"] == regime]
            if line.empty:
                continue
            shown.append(regime)
            _draw(axes, line, marks[regime])
            law = _of(laws, key, regime)
            if not law.empty:
                axes.plot(law["iteration"], law["value"], color=BLACK, linewidth=0.8, linestyle="--", zorder=3)
            if labels.get(experiment) == setting:
                points = loop[(loop["experiment"] == experiment) & (loop["sampling"] == sampling)]
                points = points[points["regime"] == regime]
                if not points.empty:
                    compared = True
                    mean, mark = over_seeds(points)["mean"], marks[regime]
                    axes.plot(mean.index, mean, color=mark.colour, marker=mark.marker, zorder=4, **LOOP)
            here = (quantity.metric, experiment, setting, regime)
            stars = [v for v in published if (v["metric"], v["experiment"], v["model"], v["regime"]) == here]
            if stars:
                starred = True
                values = [v["value"] for v in stars]
                axes.plot([v["iteration"] for v in stars], values, color=marks[regime].colour, zorder=5, **PAPER_MARK)
        means = of.groupby(["regime", "iteration"])["value"].mean()
        wide = bool((means > 0).all()) and means.max() / means.min() > WIDE
        scale_values(axes, "log" if wide and of["value"].min() >= 0 else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    for spare in panels[len(settings) :]:
        spare.remove()
    for axes in panels[max(0, len(settings) - across) : len(settings)]:
        axes.tick_params(labelbottom=True)  # nothing is below
    figure.supxlabel("Model-fitting iteration", fontsize="medium")
    figure.supylabel(axis_label(quantity), fontsize="medium")
    add_title(figure, title)
    lines: list[Artist] = [
        Line2D([], [], color=marks[name].colour, linewidth=1.8, label=wrapped(regime_title(name), 20))
        for name in regimes
        if name in shown
    ]
    if not laws.empty:
        lines.append(Line2D([], [], color=BLACK, linewidth=0.8, linestyle="--", label="its law"))
    if compared:
        looks: Style = {**LOOP, "marker": "o"}
        lines.append(Line2D([], [], color=BLACK, label="the loop's mean", **looks))
    if starred:
        lines.append(Line2D([], [], color=BLACK, label="published", **PAPER_MARK))
    figure.legend(handles=lines, loc="outside right upper")
    return figure


def _draw(axes: Axes, line: pd.DataFrame, mark: Mark) -> None:
    points = over_seeds(line)
    axes.plot(points.index, points["mean"], color=mark.colour, linewidth=1.8, alpha=0.8)
    axes.fill_between(points.index, points["low"], points["high"], color=mark.colour, alpha=0.2, linewidth=0)


def _of(laws: pd.DataFrame, key: tuple[str, ...], regime: str) -> pd.DataFrame:
    return laws.loc[(laws[KEYS] == [*key, regime]).all(axis=1).to_numpy(), :]


def _named(key: tuple[str, ...], told: set[str]) -> str:
    """A panel's name, of the columns that tell it from the others."""
    experiment, model, _ = key
    left_out = {"experiment"} if model.startswith(experiment) else set()
    return ", ".join(value for name, value in zip(SERIES, key, strict=True) if name in told - left_out)


def worst(points: pd.DataFrame) -> tuple[float, float, int]:
    """Of rows of `comparison`: the share within 3 standard errors, the largest z in size, and its iteration."""
    known = points.dropna(subset=["z"])
    if known.empty:
        return math.nan, math.nan, 0
    at = known.iloc[int(known["z"].abs().to_numpy().argmax())]
    return float((known["z"].abs() <= 3).mean()), float(at["z"]), int(at["iteration"])
