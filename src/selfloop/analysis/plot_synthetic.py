"""Rule plot_synthetic: what sampled data sets are like, against the iteration."""

from pathlib import Path

from selfloop.analysis.figures import synthetic_figure
from selfloop.analysis.read import read_metrics
from selfloop.analysis.style import save
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job


def run(job: Job) -> None:
    """Draw `params.quantities` of `params.domain` to the output files."""
    metrics = read_metrics(Path(job.input["metrics"]))
    quantities = [Quantity(**quantity) for quantity in job.params["quantities"]]
    figure = synthetic_figure(metrics, job.params["domain"], quantities, title=job.params["title"])
    save(figure, [Path(path) for path in job.output["figures"]])
