"""The test losses against the iteration: total, global and local (the paper's Fig. 4 shows the local one)."""

from selfloop.analysis.plot_synthetic import Params, draw
from selfloop.analysis.show import show
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Draw the job's figure, a panel for each loss."""
    show(job, draw)
