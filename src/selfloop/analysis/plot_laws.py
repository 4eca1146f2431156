"""The domains' step plot_laws: simulated chains of a domain and the law of every regime, a figure per quantity."""

from functools import partial
from typing import TypeAlias

import pandas as pd

from selfloop.analysis.laws import Laws, law_figure
from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.style import save
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[Laws]


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Draw the figures of what has been simulated."""
    asked = params.asked
    for quantity in asked.quantities:
        name = figure_name(quantity.metric)
        title = params.titles[name]
        figure = law_figure(metrics, params.domain, quantity, asked.own, asked.published, title=title)
        if figure is not None:
            yield name, partial(save, figure)


def figure_name(metric: str) -> str:
    """How a quantity's figure is called."""
    return f"laws-{metric.replace('_', '-')}"


def run(job: Job[Params]) -> None:
    """Draw the job's figures."""
    show(job, draw)
