"""The first table of the page as text for a terminal of 80 columns."""

import textwrap
from collections.abc import Sequence

import numpy as np

from selfloop.numbers import MINUS, table
from selfloop.report.content import BEYOND, Judged, Row, share

WIDTH = 80
NUMBER = 2  # the column of E
HEAD = "E: the share of what model 1 had learnt that is lost at the last iteration, its 95% interval, and n seeds."


def summary(rows: Sequence[Row], answer: str) -> str:
    """The words of a study: a line per model and regime.

    Args:
        rows: the rows of the first table.
        answer: the sentence over it.
    """
    if not rows:
        return "The study has measured nothing yet."
    lines = []
    for row in rows:
        names = dict.fromkeys((row.title, row.series))
        title = f"{', '.join(names)}{' (simulated)' if row.simulated else ''}"
        lines += ["", *textwrap.wrap(title, WIDTH)]
        lines += [f" {line}" for line in _fitting([_cells(name, line) for name, line in row.cells.items()])]
    return "\n".join([*textwrap.wrap(answer, WIDTH), *lines, "", *textwrap.wrap(HEAD, WIDTH)])


def _fitting(cells: list[list[str]]) -> list[str]:
    """The lines of a table, without its last columns where they would not fit."""
    lines = table(cells, right=(NUMBER,)).splitlines()
    fits = max(map(len, lines)) < WIDTH or len(cells[0]) == NUMBER + 1
    return lines if fits else _fitting([row[:-1] for row in cells])


def _cells(regime: str, line: Judged) -> list[str]:
    total = line.effect.total
    ends = "" if np.isnan(total.low) else f"{_brief(total.low)} to {_brief(total.high)}"
    ends = "exact" if total.low == total.high else ends
    return [regime, line.verdict.text, "" if np.isnan(total.value) else _brief(total.value), ends, f"n={total.seeds}"]


def _brief(value: float) -> str:
    """As on the page, but for what is beyond a thousand times what model 1 had learnt."""
    return share(value) if abs(value) < BEYOND else (">1,000x" if value > 0 else f"<{MINUS}1,000x")
