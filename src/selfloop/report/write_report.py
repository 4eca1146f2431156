"""Rule write_report: the page of a finished study."""

from pathlib import Path
from typing import Any

from selfloop.analysis.read import read_tidy
from selfloop.data.atomic import atomic_file
from selfloop.data.tidy import CURVES, METRICS
from selfloop.jobs.job import Job, StepParams
from selfloop.report.page import Sources, render


class Params(StepParams):
    """What the page is about, as `planning.shown` says it."""

    study: dict[str, Any]


def run(job: Job[Params]) -> None:
    """Write `page` from the tidy tables, and from the figures and tables that lie beside them."""
    metrics, curves = job.input["metrics"], job.input["learning_curves"]
    tables = read_tidy(metrics, METRICS), read_tidy(curves, CURVES)
    page = render(Sources(job.params.study, *tables, Path(metrics).parent))
    with atomic_file(Path(job.output["page"]), checksum=False) as scratch:
        scratch.write_text(page, encoding="utf-8")
    job.log.info("%s: %.2f MB", job.output["page"], len(page.encode()) / 1e6)
