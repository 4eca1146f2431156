"""The test losses against the iteration: total, global and local (the paper's Fig. 4 shows the local one)."""

from pathlib import Path

from selfloop.analysis.figures import synthetic_figure
from selfloop.analysis.read import read_metrics
from selfloop.analysis.style import save
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job


def run(job: Job) -> None:
    """Draw the figure."""
    metrics = read_metrics(Path(job.input["metrics"]))
    losses = [Quantity(**quantity) for quantity in job.params["asked"]]
    figure = synthetic_figure(metrics, job.params["domain"], losses, title=job.params["titles"]["losses"])
    save(figure, [Path(path) for path in job.output["figures"]])
