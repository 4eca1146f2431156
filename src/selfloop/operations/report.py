"""`selfloop report`: the page of a study as far as it is there. It changes nothing else."""

import tempfile
from pathlib import Path

from selfloop.data.atomic import atomic_file
from selfloop.data.quantity import Quantity
from selfloop.planning.paths import RESULTS
from selfloop.planning.rules import Plan
from selfloop.report import partial
from selfloop.report.content import gaps, not_simulated
from selfloop.report.page import Sources, render


def write_page(plan: Plan, output: Path) -> tuple[int, bool]:
    """Write the page of the study in the working folder; returns its bytes, and whether the study is finished.

    Raises:
        UserError: what is there cannot be shown.
    """
    shows = plan.shows
    spec = shows.report()
    made_of = plan.rows(), plan.simulation_rows()
    metrics, curves = partial.measured(*made_of)
    headlines = {domain["name"]: Quantity(**domain["headline"]) for domain in spec["domains"]}
    holes = gaps(spec["experiments"], metrics, headlines)
    waits = not_simulated(plan.simulation_rows())
    files = shows.files(tidy=True), shows.files(tidy=False)
    unfinished = bool(holes or waits) or not partial.are_current(*files, *made_of, Path(RESULTS))
    with tempfile.TemporaryDirectory() as folder:
        if unfinished:
            partial.draw(shows.entries, metrics, curves, Path(folder))
        page = render(Sources(spec, metrics, curves, Path(RESULTS), Path(folder), unfinished, waits))
    with atomic_file(output) as scratch:
        scratch.write_text(page, encoding="utf-8")
    return len(page.encode()), not unfinished
