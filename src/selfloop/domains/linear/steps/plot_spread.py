"""How far the simulated seeds lie apart."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from selfloop.analysis.show import Drawn, show
from selfloop.domains.linear.figures import spread_figure
from selfloop.domains.linear.simulation.results import results_of
from selfloop.jobs.job import Job


def draw(metrics: pd.DataFrame, params: Mapping[str, Any]) -> Drawn:
    """Draw the figure."""
    yield "spread", spread_figure(results_of(metrics, params["asked"]), title=params["titles"]["spread"])


def run(job: Job) -> None:
    """Draw the job's figure."""
    show(job, draw)
