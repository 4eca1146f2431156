"""The spread of the simulated error over seeds."""

from functools import partial
from typing import TypeAlias

import pandas as pd

from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.style import save
from selfloop.domains.linear.figures import spread_figure
from selfloop.domains.linear.simulation.results import Simulated, results_of
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[list[Simulated]]


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Draw the figure."""
    figure = spread_figure(results_of(metrics, params.asked), title=params.titles["spread"])
    yield "spread", partial(save, figure)


def run(job: Job[Params]) -> None:
    """Draw the job's figure."""
    show(job, draw)
