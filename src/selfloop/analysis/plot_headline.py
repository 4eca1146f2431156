"""Rule plot_headline: a domain's headline quantity against the iteration, a panel per regime (the paper's Fig. 2)."""

from functools import partial

import pandas as pd

from selfloop.analysis.figures import headline_figure
from selfloop.analysis.show import Drawn, Params, show
from selfloop.analysis.style import save
from selfloop.jobs.job import Job


def draw(metrics: pd.DataFrame, params: Params) -> Drawn:
    """Draw the figure, with the values that the paper has of the same setting."""
    quantity, title = params.headline, params.titles["headline"]
    figure = headline_figure(metrics, params.domain, quantity, title=title, published=params.asked)
    yield "headline", partial(save, figure)


def run(job: Job[Params]) -> None:
    """Draw the job's figure."""
    show(job, draw)
