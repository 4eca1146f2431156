"""How far the simulated seeds lie apart."""

from pathlib import Path

from selfloop.analysis.style import save
from selfloop.domains.linear.figures import spread_figure
from selfloop.domains.linear.simulation.runs import read_runs
from selfloop.jobs.job import Job


def run(job: Job) -> None:
    """Draw the figure."""
    runs = read_runs(Path(job.input["metrics"]), job.params["asked"])
    save(spread_figure(runs, title=job.params["titles"]["spread"]), [Path(path) for path in job.output["figures"]])
