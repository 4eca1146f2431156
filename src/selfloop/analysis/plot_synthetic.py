"""Rule plot_synthetic: what sampled data sets are like, against the iteration."""

from functools import partial

import pandas as pd

from selfloop.analysis.figures import synthetic_figure
from selfloop.analysis.show import Drawn, Params, show
from selfloop.analysis.style import save
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Draw a panel for each of the quantities."""
    quantities = [Quantity(**quantity) for quantity in params.asked]
    for name, title in params.titles.items():
        yield name, partial(save, synthetic_figure(metrics, params.domain, quantities, title=title))


def run(job: Job[Params]) -> None:
    """Draw the job's figure."""
    show(job, draw)
