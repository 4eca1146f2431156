"""What a ridge penalty does to the bound π²/6 of accumulate, and to the growth of replace."""

from functools import partial

import pandas as pd

from selfloop.analysis.show import Drawn, Params, show
from selfloop.analysis.style import save
from selfloop.domains.linear.figures import ridge_figure
from selfloop.domains.linear.simulation.results import results_of
from selfloop.jobs.job import Job


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Draw the figure."""
    yield "ridge", partial(save, ridge_figure(results_of(metrics, params.asked), title=params.titles["ridge"]))


def run(job: Job[Params]) -> None:
    """Draw the job's figure."""
    show(job, draw)
