"""Rule plot_learning_curves: learning curves of every iteration (the paper's Figs. 3 and 9-12)."""

from collections.abc import Mapping
from typing import Any, get_args

import pandas as pd

from selfloop.analysis.learning import Axis, learning_figure
from selfloop.analysis.show import Drawn, show
from selfloop.analysis.style import Scale
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job


def draw(curves: pd.DataFrame, params: Mapping[str, Any]) -> Drawn:
    """Draw the four variants: by epochs and by steps, on linear and on logarithmic axes."""
    quantity = Quantity(**params["asked"])
    for scale in get_args(Scale):
        for x in get_args(Axis):
            name = f"learning-curves-{x}-{scale}"
            title = params["titles"][name]
            yield name, learning_figure(curves, params["domain"], quantity, x=x, scale=scale, title=title)


def run(job: Job) -> None:
    """Draw the job's figures."""
    show(job, draw)
