"""Rule write_report: the page of a finished study."""

from pathlib import Path

from selfloop.analysis.read import read_tidy
from selfloop.data.atomic import atomic_file
from selfloop.data.tidy import CURVES, METRICS, PROFILE
from selfloop.jobs.job import Job, StepParams
from selfloop.report.page import Sources, render
from selfloop.report.study import Study


class Params(StepParams):
    """What the page is about, as `planning.shown` says it."""

    study: Study


def run(job: Job[Params]) -> None:
    """Write `page` and its `summary` from the tidy tables, and from the figures and tables that lie beside them."""
    given = (("metrics", METRICS), ("learning_curves", CURVES), ("profile", PROFILE))
    metrics, curves, profile = (read_tidy(job.input[name], schema) for name, schema in given)
    page = render(Sources(job.params.study, metrics, curves, profile, Path(job.input["metrics"]).parent))
    for name, text in (("summary", page.summary), ("page", page.html)):
        with atomic_file(Path(job.output[name]), checksum=False) as scratch:
            scratch.write_text(text, encoding="utf-8")
    job.log.info("%s: %.2f MB", job.output["page"], len(page.html.encode()) / 1e6)
