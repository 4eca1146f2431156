"""The domains' step write_laws: simulated means over their laws, and where they lie furthest apart."""

from collections.abc import Hashable
from functools import partial
from typing import TypeAlias

import pandas as pd

from selfloop.analysis.laws import KEYS, Laws, comparison, worst
from selfloop.analysis.read import groups
from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.table import Readable, Table, save_table
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[Laws]


HEADINGS = ["Quantity", "Experiment", "Setting", "Sampling", "Regime", "Seeds", "n", "Simulated", "± SE", "Law"]


def page(table: pd.DataFrame, _: Quantity) -> Table:
    """`comparison` to read: a row per quantity, setting and regime, at the last iteration."""
    lines = []
    for key, points in groups(table, ["metric", *KEYS]):
        last = points.iloc[-1]
        share, z, at = worst(points)
        law = f"{last['expected']:.4g}" if pd.notna(last["expected"]) else "no law"
        deviation = [f"{share:.0%}", f"{z:+.2f}", str(at)] if at else ["", "", ""]
        numbers = [str(int(last["seeds"])), str(int(last["iteration"])), f"{last['measured']:.4g}"]
        lines.append([*key, *numbers, f"{last['standard_error']:.2g}", law, *deviation])
        if "published" in table:
            lines[-1].append("; ".join(map(_beside, points.dropna(subset=["published"]).to_dict("records"))))
    notes = [
        "Means over seeds at the last iteration n, with their standard error by the spread of the seeds, and the "
        "expected value by the law of the regime, which follows from its table of parts alone. Within 3 SE: the share "
        "of all iterations; worst z: the largest distance of any iteration in standard errors."
    ]
    known = table.dropna(subset=["z"])
    if len(known):
        inside = known["z"].abs() <= 3
        notes.append(f"{inside.sum()} of {len(known)} points lie within 3 SE ({inside.mean():.2%}).")
    headings = [*HEADINGS, "Within 3 SE", "Worst z", "at n"]
    if "published" in table:
        headings.append("Published, and simulated with its standard deviation over seeds")
        notes.append(f"Published values are of one run each: {', '.join(sorted(set(table['source'].dropna())))}.")
    return Table(headings, lines, notes)


def _beside(point: dict[Hashable, float]) -> str:
    """A published value beside ours."""
    ours = f"{point['measured']:.3f} ± {point['deviation']:.3f}"
    return f"n={int(point['iteration'])}: {point['published']:.3f}, {ours}"


READABLE: Readable = {"laws": page}


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Work out the comparison."""
    data = comparison(metrics, params.domain, params.asked.quantities, params.asked.published)
    yield "laws", partial(save_table, data, page(data, params.headline))


def run(job: Job[Params]) -> None:
    """Write the job's table: every iteration as CSV, the last to read."""
    show(job, draw)
