"""The tables of a study. A table is a tidy frame (written as CSV, full precision) and a readable text in Markdown."""

import math
from collections.abc import Callable, Sequence

import pandas as pd

from selfloop.analysis.read import in_order, regimes_in_order, select
from selfloop.analysis.table import Table, one_line, plain
from selfloop.analysis.trends import mean_interval, slope
from selfloop.data.quantity import Quantity
from selfloop.errors import UserError

ROW = ["experiment", "model", "sampling"]
SAMPLES_COLUMNS = ["model", "regime", "sampling", "iteration", "seed", "text"]


def headline_table(metrics: pd.DataFrame, domain: str, quantity: Quantity) -> pd.DataFrame:
    """The headline metric at the iterations of the paper's Table 2, as means over seeds.

    Iterations: 1; for every regime 4 and the last of every experiment; for replace 5 too, because the paper's
    "t=4 (repl)" may count from 0 (its authors' run has 2.39, the table's value, at the fifth fit).

    Returns:
        a row per experiment, model, sampling and heading, with columns experiment, model, sampling, column (the
        heading), regime (missing for iteration 1, which all regimes share), iteration, seeds (with a finite value),
        mean, sd, difference and difference_sd (to iteration 1 of the same seed). sd is the sample standard deviation
        over seeds, missing for one seed. What was not run has no row; a mean is missing if no seed's value is finite.

    Raises:
        UserError: the table has no such values.
    """
    rows = select(metrics, domain, quantity, keys=["part"])
    wanted: list[tuple[str | None, int]] = [(None, 1)]
    for regime in regimes_in_order(rows["regime"]):
        own = rows[rows["regime"] == regime]
        lasts = own.groupby(ROW)["iteration"].max()
        shown = {4, 5} if regime == "replace" else {4}
        chosen = {int(last) for last in lasts} | shown.intersection(own["iteration"])
        wanted += [(regime, iteration) for iteration in sorted(chosen) if iteration > 1]
    found: list[tuple[object, ...]] = []
    for key, chain in _groups(rows, ROW):
        first = chain[chain["iteration"] == 1].drop_duplicates("seed").set_index("seed")["value"]
        for place, iteration in wanted:
            at = chain[chain["iteration"] == iteration]
            at = at if place is None else at[at["regime"] == place]
            values = at.drop_duplicates("seed").set_index("seed")["value"]
            change = (values - first).reindex(values.index)
            if len(values):
                numbers = (values.count(), values.mean(), values.std(), change.mean(), change.std())
                found.append((*key, _heading(place, iteration), place, iteration, *numbers))
    names = [*ROW, "column", "regime", "iteration", "seeds", "mean", "sd", "difference", "difference_sd"]
    return pd.DataFrame(found, columns=names)


def headline_page(table: pd.DataFrame, quantity: Quantity) -> Table:
    """`headline_table` set as the paper's Table 2: a row per model, "value ± sd (difference to t=1)" in its cells."""
    digits = _digits(table["mean"])
    places = table[["column", "regime", "iteration"]].drop_duplicates()
    order = {name: place for place, name in enumerate(regimes_in_order(places["regime"].dropna()), start=1)}
    places = places.assign(place=[order.get(name, 0) for name in places["regime"]])
    headings = in_order(places.sort_values(["place", "iteration"])["column"])
    lines = []
    for key, own in _groups(table, ROW):
        cells = {}
        for at in own.to_dict("records"):
            difference = None if at["iteration"] == 1 else at["difference"]
            cells[at["column"]] = _cell(at["mean"], at["sd"], difference, digits)
        lines.append([*key, _seeds(own["seeds"]), *(cells.get(heading, "n/a") for heading in headings)])
    notes = [
        f"{quantity.axis} on the {quantity.split} split: mean over seeds ± sample standard deviation, and in brackets "
        "the difference to t=1. t counts model-fitting iterations from 1; n/a: not run; NaN: no finite value."
    ]
    if "t=5 replace" in headings:
        notes.append('The paper\'s "t=4 (repl)" is t=4 here if it counts from 1, and t=5 if it counts from 0.')
    shown = [_READINGS.get(heading, heading) for heading in headings]
    return Table(["Experiment", "Model", "Sampling", "Seeds", *shown], lines, notes)


def trend_table(metrics: pd.DataFrame, domain: str, quantity: Quantity) -> pd.DataFrame:
    """How the headline metric moves in each regime: its slope over iterations, and how far seeds lie apart.

    Returns:
        a row per experiment, model, sampling and regime, with columns seeds (with a finite value), iterations (the last
        one), first and last (means over seeds at iteration 1 and at the last), slope (mean over seeds of the least
        squares slope, in units per iteration), slope_low and slope_high (its 95% confidence interval over seeds by
        Student's t; missing for one seed); spread_first and spread_last (highest minus lowest seed; missing for one).

    Raises:
        UserError: the table has no such values.
    """
    rows = select(metrics, domain, quantity, keys=["part"])
    found = []
    for key, experiment in _groups(rows, ROW):
        for regime in regimes_in_order(experiment["regime"]):
            chain = experiment[experiment["regime"] == regime]
            slopes = pd.Series([slope(own["iteration"], own["value"]) for _, own in chain.groupby("seed")], dtype=float)
            last = int(chain["iteration"].max())
            ends = [chain["value"][chain["iteration"] == iteration].dropna() for iteration in (1, last)]
            spreads = [end.max() - end.min() if len(end) > 1 else math.nan for end in ends]
            means = [end.mean() for end in ends]
            seeds = chain["seed"][chain["value"].notna()].nunique()
            found.append((*key, regime, seeds, last, *means, *mean_interval(slopes), *spreads))
    names = [*ROW, "regime", "seeds", "iterations", "first", "last", "slope", "slope_low", "slope_high"]
    return pd.DataFrame(found, columns=[*names, "spread_first", "spread_last"])


def trend_page(table: pd.DataFrame, quantity: Quantity) -> Table:
    """`trend_table` as a page to read."""
    digits = _digits(table["first"])
    lines = []
    for row in table.to_dict("records"):
        interval = f"{_signed(row['slope_low'], digits)} to {_signed(row['slope_high'], digits)}"
        lines.append(
            [
                *(str(row[name]) for name in (*ROW, "regime", "seeds", "iterations")),
                *(_number(row[name], digits) for name in ("first", "last")),
                "" if pd.isna(row["slope"]) else _signed(row["slope"], digits),
                "" if pd.isna(row["slope_low"]) else interval,
                *("" if pd.isna(row[name]) else _number(row[name], digits) for name in ("spread_first", "spread_last")),
            ]
        )
    headings = ["Experiment", "Model", "Sampling", "Regime", "Seeds", "Iterations", "First", "Last", "Slope"]
    notes = [
        f"{quantity.axis} on the {quantity.split} split, means over seeds. Slope: per iteration, least squares, with "
        "its 95% confidence interval over seeds (Student's t). Spread: highest minus lowest seed. Blank: "
        "one iteration or one seed cannot say."
    ]
    return Table([*headings, "95% interval", "Spread first", "Spread last"], lines, notes)


def samples_table(samples: Sequence[tuple[str, str, str, int, int, str]], characters: int = 300) -> pd.DataFrame:
    """Samples of generated text by model, sampling, regime, iteration and seed (the paper's Table 1).

    Args:
        samples: rows (model, regime, sampling, seed, iteration, text).
        characters: a longer text ends in an ellipsis and has just so many.

    Returns:
        a row per sample, models and samplings in the order given. The text is not escaped: that is for the page that
        shows it, such as `samples_page`.

    Raises:
        UserError: there is no sample.
    """
    names = ["model", "regime", "sampling", "seed", "iteration", "text"]
    if not samples:
        raise UserError("no sample to show; at least one is needed")
    cut = [(*chain, _cut(plain(text), characters)) for *chain, text in samples]
    frame = pd.DataFrame(cut, columns=names)[SAMPLES_COLUMNS]
    ranks: dict[str, Callable[[pd.Series], list[str]]] = {
        "model": in_order,
        "sampling": in_order,
        "regime": regimes_in_order,
    }
    keys = {name: frame[name].map({value: k for k, value in enumerate(of(frame[name]))}) for name, of in ranks.items()}
    keys |= {name: frame[name] for name in ("iteration", "seed")}
    order = pd.DataFrame(keys).sort_values(list(keys), kind="stable").index
    return frame.loc[order].reset_index(drop=True)


def samples_page(table: pd.DataFrame, _: Quantity) -> Table:
    """`samples_table` in Markdown; nothing in a sample acts as Markdown or HTML, and a line break shows as " / "."""
    headings = ["Model", "Regime", "Sampling", "Iteration", "Seed", "Sample"]
    return Table(headings, [[one_line(str(cell)) for cell in row] for row in table.fillna("").itertuples(index=False)])


def _cut(text: str, characters: int) -> str:
    """The text, or its beginning and an ellipsis: at most so many characters (at least 1)."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


_READINGS = {
    "t=4 replace": "t=4 replace (paper's t=4 counted from 1)",
    "t=5 replace": "t=5 replace (paper's t=4 counted from 0)",
}


def _heading(regime: str | None, iteration: int) -> str:
    return f"t={iteration} {regime}" if regime else f"t={iteration}"


def _groups(frame: pd.DataFrame, keys: list[str]) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Groups in the order in which the table, and so the study, names them."""
    return [(tuple(map(str, key)), own) for key, own in frame.groupby(keys, sort=False)]


def _seeds(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(high) if low == high else f"{low} to {high}"


def _digits(values: pd.Series) -> int:
    """Decimals that show four figures of a typical value."""
    typical = float(values.abs().median())
    return 3 if not typical else min(8, max(0, 3 - math.floor(math.log10(typical)))) if math.isfinite(typical) else 3


def _number(value: float, digits: int) -> str:
    return "NaN" if pd.isna(value) else f"{value:.{digits}f}"


def _signed(value: float, digits: int) -> str:
    return "NaN" if pd.isna(value) else f"{value:+.{digits}f}"


def _cell(mean: float, sd: float, difference: float | None, digits: int) -> str:
    spread = "" if pd.isna(sd) else f" ± {_number(sd, digits)}"
    change = "" if difference is None or pd.isna(difference) else f" ({_signed(difference, digits)})"
    return _number(mean, digits) + spread + change
