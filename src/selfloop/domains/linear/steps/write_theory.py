"""Measured over predicted test error of every simulated scenario, with its standard error."""

from functools import partial
from typing import TypeAlias

import pandas as pd

from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.table import Readable, Table, save_table
from selfloop.data.quantity import Quantity
from selfloop.domains.linear.simulation.results import Simulated, comparison, comparison_summary, results_of
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[list[Simulated]]


def page(table: pd.DataFrame, _: Quantity) -> Table:
    """`results.comparison` to read: a row per scenario and regime, and how often theory holds."""
    headings = [
        "Experiment",
        "Setting",
        "Regime",
        "Seeds",
        "Prediction",
        "n=1",
        "Last n",
        "± SE",
        "Within 3 SE",
        "Worst z",
        "at n",
    ]
    lines = []
    for row in comparison_summary(table).to_dict("records"):
        known = not pd.isna(row["standard_error"])
        lines.append(
            [
                *(str(row[name]) for name in ("experiment", "model", "regime", "seeds", "prediction")),
                f"{row['ratio_first']:.3f}",
                f"{row['ratio_last']:.3f}",
                f"{row['standard_error']:.3f}" if known else "",
                f"{row['within']:.0%}" if known else "",
                f"{row['worst_z']:+.2f}" if known else "",
                str(row["worst_iteration"]) if known else "",
            ]
        )
    notes = [
        "Mean test error over seeds divided by its prediction (least squares: eqs. 4, 3 and 11 for replace, accumulate "
        "and replace-multiple; ridge: its own law, averaged over X), at the first and the last iteration. SE: the "
        "standard error of that ratio at the last iteration, by the error's law, and for ridge by the spread of the "
        "seeds; blank where the error's variance is infinite (T < d+4). accumulate-subsample has neither mean nor "
        "closed form: its median is divided by an approximation, which promises no precision."
    ]
    points = table.dropna(subset=["z"])
    if len(points):
        inside = points["z"].abs() <= 3
        notes.append(
            f"{inside.sum()} of {len(points)} points (setting, iteration) lie within 3 SE ({inside.mean():.2%}). The "
            "points of one setting share rows and noise: they stand or fall together."
        )
    return Table(headings, lines, notes)


READABLE: Readable = {"theory": page}


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Work out the comparison."""
    data = comparison(results_of(metrics, params.asked))
    yield "theory", partial(save_table, data, page(data, params.headline))


def run(job: Job[Params]) -> None:
    """Write the job's table: the comparison as CSV, its summary to read."""
    show(job, draw)
