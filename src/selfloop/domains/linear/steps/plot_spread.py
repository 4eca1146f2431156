"""The spread of the simulated error over seeds."""

from functools import partial

import pandas as pd

from selfloop.analysis.show import Drawn, Params, show
from selfloop.analysis.style import save
from selfloop.domains.linear.figures import spread_figure
from selfloop.domains.linear.simulation.results import results_of
from selfloop.jobs.job import Job


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Draw the figure."""
    figure = spread_figure(results_of(metrics, params.asked), title=params.titles["spread"])
    yield "spread", partial(save, figure)


def run(job: Job[Params]) -> None:
    """Draw the job's figure."""
    show(job, draw)
