"""Rule plot_headline: a domain's headline quantity against the iteration, a panel per regime (the paper's Fig. 2)."""

from functools import partial
from typing import TypeAlias

import pandas as pd

from selfloop.analysis.figures import headline_figure
from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.style import save
from selfloop.data.published import Published
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[list[Published]]


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Draw the figure, with the values that the paper has of the same setting."""
    quantity, title = params.headline, params.titles["headline"]
    figure = headline_figure(metrics, params.domain, quantity, title=title, published=params.asked)
    yield "headline", partial(save, figure)


def run(job: Job[Params]) -> None:
    """Draw the job's figure."""
    show(job, draw)
