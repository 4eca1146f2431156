"""The simulation against theory: the paper's Figs. 7 and 16."""

from functools import partial
from typing import TypeAlias, get_args

import pandas as pd

from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.style import Scale, save
from selfloop.domains.linear.figures import theory_figure
from selfloop.domains.linear.simulation.results import Simulated, results_of
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[list[Simulated]]


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Draw the figure on both scales."""
    results = results_of(metrics, params.asked)
    for scale in get_args(Scale):
        name = f"theory-{scale}"
        yield name, partial(save, theory_figure(results, scale=scale, title=params.titles[name]))


def run(job: Job[Params]) -> None:
    """Draw the job's figures."""
    show(job, draw)
