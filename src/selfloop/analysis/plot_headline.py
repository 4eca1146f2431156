"""Rule plot_headline: a domain's headline quantity against the iteration, a panel per regime (the paper's Fig. 2)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd

from selfloop.analysis.figures import headline_figure
from selfloop.analysis.show import Drawn, show
from selfloop.analysis.style import save
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job


def draw(metrics: pd.DataFrame, params: Mapping[str, Any]) -> Drawn:
    """Draw the figure, with the values that the paper has of the same setting."""
    quantity, title = Quantity(**params["headline"]), params["titles"]["headline"]
    figure = headline_figure(metrics, params["domain"], quantity, title=title, published=params["asked"])
    yield "headline", partial(save, figure)


def run(job: Job) -> None:
    """Draw the job's figure."""
    show(job, draw)
