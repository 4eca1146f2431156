"""Perplexity and bits per byte of the test documents, read in windows, against the iteration."""

from selfloop.analysis.plot_synthetic import Params, draw
from selfloop.analysis.show import show
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Draw the job's figure, a panel for each of the two."""
    show(job, draw)
