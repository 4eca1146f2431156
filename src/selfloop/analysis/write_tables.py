"""Rule write_tables: a domain's headline quantity as a table like the paper's Table 2, and its trend."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from selfloop.analysis import tables
from selfloop.analysis.show import Drawn, show
from selfloop.data.quantity import Quantity
from selfloop.jobs.job import Job

READABLE = {"headline": tables.headline_page, "trend": tables.trend_page}


def draw(metrics: pd.DataFrame, params: Mapping[str, Any]) -> Drawn:
    """Work out both tables."""
    quantity, domain = Quantity(**params["headline"]), params["domain"]
    yield "headline", tables.headline_table(metrics, domain, quantity)
    yield "trend", tables.trend_table(metrics, domain, quantity)


def run(job: Job) -> None:
    """Write the job's tables."""
    show(job, draw, READABLE)
