"""`selfloop report`: the page of a study, finished or not, from whatever artifacts there are."""

import importlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from selfloop.analysis.show import write
from selfloop.data import collect
from selfloop.data.atomic import atomic_file
from selfloop.errors import UserError
from selfloop.jobs.damage import Check, check
from selfloop.jobs.marks import remove
from selfloop.jobs.steps import step_module
from selfloop.planning.paths import PAGE, RESULTS
from selfloop.planning.rules import Plan
from selfloop.planning.shown import Shown
from selfloop.report.content import gaps, not_simulated
from selfloop.report.page import Page, Sources, render
from selfloop.report.study import Study

log = logging.getLogger(__name__)


def write_page(plan: Plan, output: Path) -> tuple[Page, bool]:
    """Write the page of the study in the working folder; returns it, and whether the study is finished.

    Raises:
        UserError: what is there cannot be shown; a figure or table is damaged.
    """
    shows = plan.shows
    check(file for file in shows.files() if Path(file).exists())
    study = Study.model_validate(shows.report())
    made_of = plan.rows(), plan.simulation_rows()
    metrics, curves = (table.to_pandas() for table in collect.tables(*made_of, usable=is_usable))
    profile = collect.profile(plan.rows(), is_usable).to_pandas()
    waits = not_simulated(plan.simulation_rows())
    is_whole = not (gaps(study.experiments, metrics, study.headlines) or waits)
    finished = is_whole and are_current(plan)
    with tempfile.TemporaryDirectory() as folder:
        if not finished:
            draw(shows.entries, {"metrics": metrics, "learning_curves": curves, "profile": profile}, Path(folder))
        drawn, results = Path(folder), Path(RESULTS)
        sources = Sources(study, metrics, curves, profile, results, drawn, not finished, waits, output.parent)
        page = render(sources)
    if not finished and output.resolve() == Path(PAGE).resolve():
        remove(Path(shows.page_mark))  # Snakemake's page of any study has been replaced
    with atomic_file(output, checksum=False) as scratch:
        scratch.write_text(page.html, encoding="utf-8")
    return page, finished


def are_current(plan: Plan) -> bool:
    """Whether all that a study measures and shows is there, and figures and tables are this study's by their marks."""
    measured = (*plan.measurement_files, *plan.curve_files, *plan.simulation_files, *plan.profile_files)
    return all(map(os.path.isfile, (*measured, *plan.shows.files(), *plan.shows.marks)))


def is_usable(load: Callable[[str], object], path: str) -> bool:
    """Whether a file is there, is as it was written, and can be loaded; a log line names one that is not."""
    if not Path(path).is_file():
        return False
    for damage in Check().damages(Path(path)):
        log.warning("left out: %s", damage)
        return False
    try:
        load(path)
    except (ValueError, OSError) as error:  # pyarrow's errors and JSON's are ValueErrors
        log.warning("%s is not whole and left out: %s", path, error)
        return False
    return True


def draw(entries: Iterable[Shown], tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Draw into `folder` what is shown of the tidy tables, with the steps' own functions.

    What has nothing to show yet is not drawn, and a log line says so.
    """
    for entry in entries:
        if entry.tidy is not None:
            step = importlib.import_module(step_module(entry.rule, entry.domain.name))
            paths = [folder / f"{name}.{form}" for name in entry.names("figures") for form in ("svg", "png")]
            paths += [folder / f"{name}.csv" for name in entry.names("tables")]
            try:
                params = step.Params.model_validate(entry.params)
                write(step.draw(tables[entry.tidy], params), entry.domain.name, paths)
            except UserError as error:
                log.info("not drawn: %s", error)
