"""Rule plot_headline: a domain's main measurement against the iteration, one panel per regime (the paper's Fig. 2)."""

from pathlib import Path

from selfloop.analysis.figures import headline_figure
from selfloop.analysis.read import read_metrics
from selfloop.analysis.style import save
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job


def run(job: Job) -> None:
    """Draw `params.quantity` of `params.domain` to the output files."""
    metrics = read_metrics(Path(job.input["metrics"]))
    figure = headline_figure(
        metrics,
        job.params["domain"],
        Quantity(**job.params["quantity"]),
        title=job.params["title"],
        published=job.params["published"],
    )
    save(figure, [Path(path) for path in job.output["figures"]])
