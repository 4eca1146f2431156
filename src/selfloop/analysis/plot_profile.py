"""The measures of a domain's profile, against the iteration; domains have it among their own steps."""

from functools import partial
from typing import TypeAlias

import pandas as pd

from selfloop.analysis.profile_figures import measures_figure
from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.style import save
from selfloop.data.profile import Measure
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[list[Measure]]


def draw(profile: pd.DataFrame, params: Params) -> Drawn:
    """Draw the figure."""
    yield "profile", partial(save, measures_figure(profile, params.domain, params.asked, params.titles["profile"]))


def run(job: Job[Params]) -> None:
    """Draw the job's figure."""
    show(job, draw)
