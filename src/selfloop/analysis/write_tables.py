"""Rule write_tables: a domain's headline quantity as a table like the paper's Table 2, and its trend."""

import math
from functools import partial

import numpy as np
import pandas as pd

from selfloop.analysis.read import groups, in_order, regimes_in_order, require
from selfloop.analysis.show import Drawn, Params, show
from selfloop.analysis.table import Readable, Table, save_table
from selfloop.data.quantity import Quantity
from selfloop.data.tidy import SERIES
from selfloop.jobs.job import Job
from selfloop.statistics import estimates

_READINGS = {
    "t=4 replace": "t=4 replace (paper's t=4 counted from 1)",
    "t=5 replace": "t=5 replace (paper's t=4 counted from 0)",
}


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Work out both tables."""
    quantity, domain = params.headline, params.domain
    for name, work_out in (("headline", headline_table), ("trend", trend_table)):
        data = work_out(metrics, domain, quantity)
        yield name, partial(save_table, data, READABLE[name](data, quantity))


def run(job: Job[Params]) -> None:
    """Write the job's tables."""
    show(job, draw)


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
    rows = require(metrics, domain, quantity)
    wanted: list[tuple[str | None, int]] = [(None, 1)]
    for regime in regimes_in_order(rows["regime"]):
        own = rows[rows["regime"] == regime]
        shown = {4, 5} if regime == "replace" else {4}
        chosen = {*own.groupby(SERIES)["iteration"].max()} | shown.intersection(own["iteration"])
        wanted += [(regime, int(iteration)) for iteration in sorted(chosen) if iteration > 1]
    found: list[tuple[object, ...]] = []
    for key, chain in groups(rows, SERIES):
        first = chain[chain["iteration"] == 1].drop_duplicates("seed").set_index("seed")["value"]
        for place, iteration in wanted:
            at = chain[(chain["iteration"] == iteration) & ((place is None) | (chain["regime"] == place))]
            values = at.drop_duplicates("seed").set_index("seed")["value"]
            change = (values - first).reindex(values.index)
            if len(values):
                heading = f"t={iteration} {place}" if place else f"t={iteration}"
                numbers = (values.count(), values.mean(), values.std(), change.mean(), change.std())
                found.append((*key, heading, place, iteration, *numbers))
    names = [*SERIES, "column", "regime", "iteration", "seeds", "mean", "sd", "difference", "difference_sd"]
    return pd.DataFrame(found, columns=names)


def headline_page(table: pd.DataFrame, quantity: Quantity) -> Table:
    """`headline_table` set as the paper's Table 2: a row per model, "value ± sd (difference to t=1)" in its cells."""
    digits = _digits(table["mean"])
    places = table[["column", "regime", "iteration"]].drop_duplicates()
    order = {name: place for place, name in enumerate(regimes_in_order(places["regime"].dropna()), start=1)}
    places = places.assign(place=[order.get(name, 0) for name in places["regime"]])
    headings = in_order(places.sort_values(["place", "iteration"])["column"])
    rows = []
    for key, own in groups(table, SERIES):
        cells = {}
        for at in own.to_dict("records"):
            spread = "" if pd.isna(at["sd"]) else f" ± {_number(at['sd'], digits)}"
            compared = at["iteration"] > 1 and not pd.isna(at["difference"])
            change = f" ({_number(at['difference'], digits, '+')})" if compared else ""
            cells[at["column"]] = _number(at["mean"], digits) + spread + change
        low, high = int(own["seeds"].min()), int(own["seeds"].max())
        seeds = str(high) if low == high else f"{low} to {high}"
        rows.append([*key, seeds, *(cells.get(heading, "n/a") for heading in headings)])
    notes = [
        f"{quantity.axis} on the {quantity.split} split: mean over seeds ± sample standard deviation, and in brackets "
        "the difference to t=1. t counts model-fitting iterations from 1; n/a: not run; NaN: no finite value."
    ]
    if "t=5 replace" in headings:
        notes.append('The paper\'s "t=4 (repl)" is t=4 here if it counts from 1, and t=5 if it counts from 0.')
    shown = [_READINGS.get(heading, heading) for heading in headings]
    return Table(["Experiment", "Model", "Sampling", "Seeds", *shown], rows, notes)


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
    rows = require(metrics, domain, quantity)
    found = []
    for key, experiment in groups(rows, SERIES):
        for regime in regimes_in_order(experiment["regime"]):
            chain = experiment[experiment["regime"] == regime]
            slopes = [estimates.slope(own["iteration"], own["value"]) for _, own in chain.groupby("seed")]
            mean = estimates.mean(np.array(slopes))
            last = int(chain["iteration"].max())
            ends = [chain["value"][chain["iteration"] == iteration].dropna() for iteration in (1, last)]
            spreads = [end.max() - end.min() if len(end) > 1 else math.nan for end in ends]
            seeds = chain["seed"][chain["value"].notna()].nunique()
            interval = (mean.value, mean.low, mean.high)
            found.append((*key, regime, seeds, last, *(end.mean() for end in ends), *interval, *spreads))
    names = [*SERIES, "regime", "seeds", "iterations", "first", "last", "slope", "slope_low", "slope_high"]
    return pd.DataFrame(found, columns=[*names, "spread_first", "spread_last"])


def trend_page(table: pd.DataFrame, quantity: Quantity) -> Table:
    """`trend_table` to read."""
    digits = _digits(table["first"])

    def known(value: float, sign: str = "") -> str:
        return "" if pd.isna(value) else _number(value, digits, sign)

    rows = [
        [
            *(str(row[name]) for name in (*SERIES, "regime", "seeds", "iterations")),
            *(_number(row[name], digits) for name in ("first", "last")),
            known(row["slope"], "+"),
            " to ".join(filter(None, [known(row["slope_low"], "+"), known(row["slope_high"], "+")])),
            *(known(row[name]) for name in ("spread_first", "spread_last")),
        ]
        for row in table.to_dict("records")
    ]
    headings = ["Experiment", "Model", "Sampling", "Regime", "Seeds", "Iterations", "First", "Last", "Slope"]
    note = (
        f"{quantity.axis} on the {quantity.split} split, means over seeds. Slope: per iteration, least squares, with "
        "its 95% confidence interval over seeds (Student's t). Spread: highest minus lowest seed. Blank: "
        "one iteration or one seed cannot say."
    )
    return Table([*headings, "95% interval", "Spread first", "Spread last"], rows, [note])


READABLE: Readable = {"headline": headline_page, "trend": trend_page}


def _digits(values: pd.Series) -> int:
    """Decimals that show four figures of a typical value."""
    typical = float(values.abs().median())
    return 3 if not typical else min(8, max(0, 3 - math.floor(math.log10(typical)))) if math.isfinite(typical) else 3


def _number(value: float, digits: int, sign: str = "") -> str:
    return "NaN" if pd.isna(value) else f"{value:{sign}.{digits}f}"
