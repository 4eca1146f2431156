"""Measured over predicted test error of every simulated setting, with its standard error."""

from pathlib import Path

import pandas as pd

from selfloop.analysis.markdown import markdown_table
from selfloop.analysis.tables import write_table
from selfloop.domains.linear.simulation.runs import comparison, comparison_summary, read_runs
from selfloop.jobs.job import Job


def run(job: Job) -> None:
    """Write the comparison as CSV, and its summary as a page."""
    table = comparison(read_runs(Path(job.input["metrics"]), job.params["asked"]))
    targets = [Path(path) for path in job.output["tables"]]
    write_table(table, page(table), targets[0].with_suffix(""))


def page(table: pd.DataFrame) -> str:
    """`runs.comparison` to read: a row per setting and regime, and how often theory holds."""
    headings = ["Experiment", "Setting", "Regime", "Seeds", "n=1", "Last n", "± SE", "Within 3 SE", "Worst z", "at n"]
    lines = []
    for row in comparison_summary(table).to_dict("records"):
        known = not pd.isna(row["standard_error"])
        lines.append(
            [
                *(str(row[name]) for name in ("experiment", "model", "regime", "seeds")),
                f"{row['ratio_first']:.3f}",
                f"{row['ratio_last']:.3f}",
                f"{row['standard_error']:.3f}" if known else "",
                f"{row['within']:.0%}" if known else "",
                f"{row['worst_z']:+.2f}" if known else "",
                str(row["worst_iteration"]) if known else "",
            ]
        )
    notes = [
        "Mean test error over seeds divided by its prediction (replace: eq. 4, accumulate: eq. 3, replace-multiple: "
        "eq. 11), at the first and the last iteration. SE: the standard error of that ratio by the error's law; it is "
        "the same at each iteration, and blank where the error's variance is infinite (T < d+4). accumulate-subsample "
        "has no closed form."
    ]
    points = table.dropna(subset=["z"])
    if len(points):
        inside = points["z"].abs() <= 3
        notes.append(
            f"{inside.sum()} of {len(points)} points (setting, iteration) lie within 3 SE ({inside.mean():.2%}). The "
            "points of one setting share rows and noise: they stand or fall together."
        )
    return markdown_table("", headings, lines, notes)
