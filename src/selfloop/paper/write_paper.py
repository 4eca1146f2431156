"""The study's test cross-entropy in the rows and columns of the paper's Table 2, beside the paper's own values."""

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import pandas as pd

from selfloop.analysis.read import require
from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.table import Readable, Table, save_table
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job
from selfloop.paper.table2 import COLUMNS, ROWS, Column, row_named

Params: TypeAlias = Asking[list[dict[str, str | None]]]


ROW = ["experiment", "model", "sampling", "paper_row"]


def comparison(
    metrics: pd.DataFrame, domain: str, quantity: Quantity, asked: Sequence[Mapping[str, str | None]]
) -> pd.DataFrame:
    """The study's values at the places of Table 2, as means over seeds, and the paper's.

    Args:
        metrics: the study's tidy table.
        domain, quantity: what Table 2 is about, as the study names it.
        asked: for each experiment and sampling of the study, the name of its row of Table 2 (`row`), or None.

    Returns:
        a row per experiment, sampling and column of Table 2, with columns experiment, model, sampling, paper_row
        (missing without a counterpart), column and reading (see `paper.Column`), regime, iteration, seeds, ours, sd
        (over seeds), paper, ours_change and paper_change (since t=1; the paper's as the difference of the values that
        it prints). What either has not run is missing.
    """
    rows = require(metrics, domain, quantity)
    found = []
    for wanted in asked:
        own = rows[(rows["experiment"] == wanted["experiment"]) & (rows["sampling"] == wanted["sampling"])]
        values = {} if wanted["row"] is None else row_named(wanted["row"]).values
        first = _at(own, COLUMNS[0])
        for column in COLUMNS:
            at = _at(own, column)
            paper = values.get(column.heading, float("nan"))
            found.append(
                {
                    **{"experiment": wanted["experiment"], "model": own["model"].iloc[0]},
                    **{"sampling": wanted["sampling"], "paper_row": wanted["row"]},
                    **{"column": column.heading, "reading": column.reading or None},
                    **{"regime": column.regime, "iteration": column.iteration, "seeds": int(at.count())},
                    **{"ours": at.mean(), "sd": at.std(), "paper": paper},
                    **{"ours_change": (at - first).mean(), "paper_change": paper - values.get("t=1", float("nan"))},
                }
            )
    return pd.DataFrame(found)


def _at(rows: pd.DataFrame, column: Column) -> pd.Series:
    """Finite values by seed at a place of Table 2."""
    at = rows[rows["iteration"] == column.iteration]
    at = at if column.regime is None else at[at["regime"] == column.regime]
    return at.drop_duplicates("seed").set_index("seed")["value"].dropna()


def page(table: pd.DataFrame, quantity: Quantity) -> Table:
    """`comparison` to read: for each place of Table 2 our value and the paper's, side by side."""
    headings = ["Experiment", "Model", "Sampling", "Row of Table 2"]
    for column in COLUMNS:
        headings += [f"{_heading(column)}: ours", "paper"]
    lines = []
    for key, own in table.fillna({"paper_row": ""}).groupby(ROW, sort=False):
        line = list(map(str, key))
        for at in own.to_dict("records"):
            line += [_cell(at, "ours", "n/a"), _cell(at, "paper", "n/a" if line[-1] else "")]
        lines.append(line)
    ours = set(table["paper_row"].dropna())
    missing = [row.name for row in ROWS if row.name not in ours]
    notes = [
        f"{quantity.axis} on the test split, in brackets the difference to t=1; ours as means over seeds. t counts "
        "model-fitting iterations from 1; n/a: not run. The paper's values are those of its Table 2 (TinyStories, one "
        "seed), for experiments with the same data, model, temperature and epochs; blank where no row has them.",
        'The paper\'s "t=4 (repl)" may be the fourth fit or the fifth: a replace run of GPT-2 (9M) that its authors '
        "published has 1.81, 2.07, 2.21, 2.30 and 2.39 at fits 1 to 5.",
    ]
    if missing:
        notes.append(f"Rows of Table 2 without a counterpart in this study: {', '.join(missing)}.")
    return Table(headings, lines, notes)


def _heading(column: Column) -> str:
    return f"{column.heading}, as {column.reading}" if column.reading else column.heading


def _cell(at: Mapping[Hashable, float], whose: str, absent: str) -> str:
    if pd.isna(at[whose]):
        return absent
    change = "" if at["iteration"] == 1 else f" ({at[f'{whose}_change']:+.2f})"
    return f"{at[whose]:.2f}{change}"


READABLE: Readable = {"paper": page}


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Work out the comparison."""
    quantity = params.headline
    data = comparison(metrics, params.domain, quantity, params.asked)
    yield "paper", partial(save_table, data, page(data, quantity))


def run(job: Job[Params]) -> None:
    """Write the job's table."""
    show(job, draw)
