"""Rule plot_synthetic: what sampled data sets are like, against the iteration."""

from functools import partial
from typing import TypeAlias

import pandas as pd

from selfloop.analysis.figures import synthetic_figure
from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.style import save
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[list[Quantity]]


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Draw a panel for each of the quantities."""
    for name, title in params.titles.items():
        yield name, partial(save, synthetic_figure(metrics, params.domain, params.asked, title=title))


def run(job: Job[Params]) -> None:
    """Draw the job's figure."""
    show(job, draw)
