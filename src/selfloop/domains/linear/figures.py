"""Figures of the simulation: a row of panels per regime, a column per dimension."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from selfloop.analysis.read import regimes_in_order
from selfloop.analysis.style import (
    PANEL,
    LineStyle,
    Scale,
    add_title,
    line_styles,
    regime_title,
    scale_values,
    styled,
    wrapped,
)
from selfloop.domains.linear import theory
from selfloop.domains.linear.simulation.results import Result, law_quantiles
from selfloop.domains.linear.theory import Array

LINEAR_ITERATIONS = 10  # shown on a linear axis
LEGEND = 1.7  # width in inches
SHARES = (0.05, 0.5, 0.95)
BLACK, GREY = "#000000", "#555555"
LAW_STYLE: Final = "--"
APPROXIMATION_STYLE: Final = "-."
BOUND_STYLE: Final = ":"


@styled
def theory_figure(results: Sequence[Result], *, scale: Scale, title: str = "") -> Figure:
    """Test error against the iteration, with the predicted curves and accumulate's bound (the paper's Figs. 7 and 16).

    Least squares and ridge have the mean of their own law, accumulate-subsample the approximation of its median, and
    least squares alone has a bound.

    Errors are in units of sigma2, of which their distribution is independent, so noise variances are pooled. Lines are
    means over seeds; where the error has no mean, they are medians, and the caption says so.

    Args:
        results: at least one.
        scale: of the vertical axis; linear shows the first 10 iterations, log shows all of them.
        title: above the panels; none if empty.
    """
    last = LINEAR_ITERATIONS if scale == "linear" else max(result.scenario.iterations for result in results)
    figure, grid, colours, dashes = _panels(results, share_y=scale == "log")
    for (regime, d), axes in grid.items():
        for pooled in _pooled(results, regime, d):
            errors = _scaled(pooled)[:, :last]
            first = pooled[0]
            middle = errors.mean(axis=0) if first.has_mean else np.median(errors, axis=0)
            n = np.arange(1, len(middle) + 1)
            colour, dash = colours[first.scenario.T], dashes[_kind(first)]
            axes.plot(n, middle, linewidth=2.2, alpha=0.75, color=colour, linestyle=dash)
            for predicted, style in ((first.expected, LAW_STYLE), (first.approximate, APPROXIMATION_STYLE)):
                if predicted is not None:
                    axes.plot(n, predicted[:last] / first.scenario.sigma2, color=BLACK, linewidth=0.8, linestyle=style)
            if regime == "accumulate" and first.has_law:
                bound = theory.accumulate_bound(d, first.scenario.T, 1.0)
                axes.axhline(bound, color=BLACK, linewidth=0.8, linestyle=BOUND_STYLE)
    _finish(figure, grid, scale, colours, dashes, title, last)
    notes: list[Artist] = []
    if any(result.expected is not None for result in results):
        notes.append(Line2D([], [], color=BLACK, linewidth=0.8, linestyle=LAW_STYLE, label="predicted mean"))
    if any(result.approximate is not None for result in results):
        label = "approximate median"
        notes.append(Line2D([], [], color=BLACK, linewidth=0.8, linestyle=APPROXIMATION_STYLE, label=label))
    if any(result.has_law and result.scenario.regime == "accumulate" for result in results):
        notes.append(Line2D([], [], color=BLACK, linewidth=0.8, linestyle=BOUND_STYLE, label="bound: π²/6 times n=1"))
    _notes(figure, notes)
    medians = sorted({_without_mean(result) for result in results if not result.has_mean})
    exceptions = f"; medians for {', '.join(medians)}, where no mean exists" if medians else ""
    _caption(figure, f"Lines are means over seeds{exceptions}.{_together(results)}")
    return figure


@styled
def spread_figure(results: Sequence[Result], *, title: str = "") -> Figure:
    """Spread over seeds: median and 5% to 95% quantiles of the test error, and those of the predicted distribution.

    Args:
        results: at least one.
        title: above the panels; none if empty.
    """
    figure, grid, colours, dashes = _panels(results, share_y=True)
    for (regime, d), axes in grid.items():
        for pooled in _pooled(results, regime, d):
            first = pooled[0]
            low, middle, high = np.quantile(_scaled(pooled), SHARES, axis=0)
            n = np.arange(1, len(middle) + 1)
            colour = colours[first.scenario.T]
            axes.plot(n, middle, color=colour, linestyle=dashes[_kind(first)])
            axes.fill_between(n, low, high, color=colour, alpha=0.25, linewidth=0)
            if first.has_law:
                for line in law_quantiles(first.scenario, SHARES):
                    axes.plot(n, line, color=BLACK, linewidth=0.6, linestyle="--")
    _finish(figure, grid, "log", colours, dashes, title, max(result.scenario.iterations for result in results))
    notes: list[Artist] = [
        Line2D([], [], color=GREY, label="median of the seeds"),
        Patch(color=GREY, alpha=0.3, linewidth=0, label="5% to 95% of the seeds"),
    ]
    if any(result.has_law for result in results):
        notes.append(Line2D([], [], color=BLACK, linewidth=0.6, linestyle="--", label="the law's 5%, 50%, 95%"))
    _notes(figure, notes)
    law = " The law is that of c χ²(d) / χ²(T-d+1)." if any(result.has_law for result in results) else ""
    _caption(figure, f"Quantiles over seeds, which exist also where the mean does not.{law}{_together(results)}")
    return figure


@styled
def ridge_figure(results: Sequence[Result], *, title: str = "") -> Figure:
    """What a ridge penalty does to π²/6: the error over that of iteration 1 for each penalty, replace and accumulate.

    A row per regime, a column per setting; lines are simulated means over seeds, dashes the law's.

    Args:
        results: at least one that `ridge_results` keeps.
        title: above the panels; none if empty.
    """
    kept = ridge_results(results)
    regimes = regimes_in_order(result.scenario.regime for result in kept)
    settings = list(dict.fromkeys(map(_setting, kept)))
    penalties = sorted({result.scenario.ridge for result in kept})
    shades = dict(zip(penalties, colormaps["viridis"](np.linspace(0, 0.88, len(penalties))), strict=True))
    size = (PANEL[0] * max(len(settings), 2) + LEGEND, PANEL[1] * 0.85 * len(regimes) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(regimes), len(settings), squeeze=False, sharex=True, sharey="row")
    for i, regime in enumerate(regimes):
        grid[i, 0].set_ylabel(regime_title(regime))
        for j, setting in enumerate(settings):
            axes = grid[i, j]
            for result in kept:
                if (result.scenario.regime, _setting(result)) == (regime, setting):
                    n = np.arange(1, result.scenario.iterations + 1)
                    colour = tuple(shades[result.scenario.ridge])
                    axes.plot(n, result.middle / result.middle[0], linewidth=2.2, alpha=0.75, color=colour)
                    if result.expected is not None:
                        law = result.expected / result.expected[0]
                        axes.plot(n, law, color=BLACK, linewidth=0.8, linestyle=LAW_STYLE)
            if regime == "accumulate":
                axes.axhline(np.pi**2 / 6, color=BLACK, linewidth=0.8, linestyle=BOUND_STYLE)
            scale_values(axes, "log")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
            if i == 0:
                axes.set_title(setting)
            if i == len(regimes) - 1:
                axes.set_xlabel("Model-fitting iteration")
    figure.supylabel("Test error over that of iteration 1", fontsize="medium")
    add_title(figure, title)
    lines: list[Artist] = [
        Line2D([], [], color=tuple(shade), linewidth=2.2, label=f"λ = {penalty:g}") for penalty, shade in shades.items()
    ]
    figure.legend(handles=lines, title="Ridge", loc="outside right upper")
    notes: list[Artist] = []
    if any(result.expected is not None for result in kept):
        notes.append(Line2D([], [], color=BLACK, linewidth=0.8, linestyle=LAW_STYLE, label="predicted mean"))
    if "accumulate" in regimes:
        notes.append(Line2D([], [], color=BLACK, linewidth=0.8, linestyle=BOUND_STYLE, label="π²/6"))
    _notes(figure, notes)
    text = "Ratios of means over seeds. Theorem 2's π²/6 is the limit of accumulate under least squares, λ = 0."
    _caption(figure, text)
    return figure


def ridge_results(results: Sequence[Result]) -> list[Result]:
    """Of replace and accumulate, the results whose setting has been simulated with a ridge penalty and has a mean."""
    own = [result for result in results if result.scenario.regime in ("replace", "accumulate") and result.has_mean]
    penalised = {_setting(result) for result in own if result.scenario.ridge}
    return [result for result in own if _setting(result) in penalised]


def _setting(result: Result) -> str:
    """What results have in common whose penalties are compared."""
    s = result.scenario
    return replace(s, ridge=1.0).label.replace(", ridge=1.0", "")


def _kind(result: Result) -> str:
    """What distinguishes lines of one colour."""
    s = result.scenario
    return f"{result.experiment}, σ²={s.sigma2:g}, ridge {s.ridge:g}" if s.ridge else result.experiment


def _without_mean(result: Result) -> str:
    """Label of what has no mean: a regime, or too few rows."""
    if result.scenario.d + 2 > result.scenario.T:
        return f"T={result.scenario.T}, d={result.scenario.d}"
    return regime_title(result.scenario.regime)


def _together(results: Sequence[Result]) -> str:
    """A sentence on noise variances that are pooled."""
    values = sorted({result.scenario.sigma2 for result in results if not result.scenario.ridge})
    return f" Seeds of σ² = {', '.join(f'{value:g}' for value in values)} are taken together." if values[1:] else ""


def _pooled(results: Sequence[Result], regime: str, d: int) -> list[list[Result]]:
    """The results of a panel, pooled where their distribution in units of sigma2 is the same; largest T first."""
    groups: dict[tuple[int, str], list[Result]] = {}
    for result in results:
        if (result.scenario.regime, result.scenario.d) == (regime, d):
            groups.setdefault((-result.scenario.T, _kind(result)), []).append(result)
    return [groups[key] for key in sorted(groups)]


def _scaled(results: Sequence[Result]) -> Array:
    """All seeds' errors in units of sigma2, (seeds, iterations)."""
    return np.concatenate([result.error / result.scenario.sigma2 for result in results])


def _panels(
    results: Sequence[Result], share_y: bool
) -> tuple[Figure, dict[tuple[str, int], Axes], dict[int, tuple[float, float, float, float]], dict[str, LineStyle]]:
    """A figure, its panels by regime and dimension, colours by T, and dash patterns."""
    regimes = regimes_in_order(result.scenario.regime for result in results)
    dimensions = sorted({result.scenario.d for result in results})
    sizes = sorted({result.scenario.T for result in results})
    shades = colormaps["viridis"](np.linspace(0, 0.88, len(sizes)))
    width, height = PANEL[0] * max(len(dimensions), 2) + LEGEND, PANEL[1] * 0.85 * len(regimes) + 0.8
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(len(regimes), len(dimensions), squeeze=False, sharex=True, sharey=share_y)
    grid = {(regime, d): axes[i, j] for i, regime in enumerate(regimes) for j, d in enumerate(dimensions)}
    kinds = list(dict.fromkeys(_kind(result) for result in results))
    return figure, grid, dict(zip(sizes, map(tuple, shades), strict=True)), line_styles(kinds)


def _finish(
    figure: Figure,
    grid: dict[tuple[str, int], Axes],
    scale: Scale,
    colours: dict[int, tuple[float, float, float, float]],
    dashes: dict[str, LineStyle],
    title: str,
    last: int,
) -> None:
    regimes = list(dict.fromkeys(regime for regime, _ in grid))
    dimensions = list(dict.fromkeys(d for _, d in grid))
    for (regime, d), axes in grid.items():
        scale_values(axes, scale)
        axes.minorticks_off()  # they take a third of the drawing time
        axes.set_xlim(0.5 if last <= 10 else 0, last + 0.02 * last)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        if regime == regimes[-1]:
            axes.set_xlabel("Model-fitting iteration")
        if regime == regimes[0]:
            axes.set_title(f"d = {d}")
        if d == dimensions[0]:
            axes.set_ylabel(wrapped(regime_title(regime), 20))
        if not axes.lines:
            axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", va="center", color=GREY)
    figure.supylabel("Test error ‖ŵ - w*‖²_Σ / σ²", fontsize="medium")
    add_title(figure, title)
    lines: list[Artist] = [
        Line2D([], [], color=colour, linewidth=2.2, label=f"T = {T}") for T, colour in colours.items()
    ]
    if len(dashes) > 1:
        lines += [Line2D([], [], color=GREY, linestyle=dash, label=wrapped(kind, 24)) for kind, dash in dashes.items()]
    figure.legend(handles=lines, title="Rows", loc="outside right upper")


def _notes(figure: Figure, notes: list[Artist]) -> None:
    if notes:
        figure.legend(handles=notes, loc="outside right lower")


def _caption(figure: Figure, text: str) -> None:
    """A caption below the panels, wrapped to their width."""
    lines = textwrap.wrap(text, int((figure.get_figwidth() - LEGEND) * 14))
    figure.supxlabel("\n".join(lines), x=0.02, ha="left", fontsize="medium")
