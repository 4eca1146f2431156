"""The measures of a domain's profile, against the iteration; domains have it among their own steps."""

from functools import partial

import pandas as pd

from selfloop.analysis.profile_figures import measures_figure
from selfloop.analysis.show import Drawn, Params, show
from selfloop.analysis.style import save
from selfloop.data.profile import Measure
from selfloop.jobs.job import Job


def draw(profile: pd.DataFrame, params: Params) -> Drawn:
    """Draw the figure."""
    measures = [Measure(**measure) for measure in params.asked]
    yield "profile", partial(save, measures_figure(profile, params.domain, measures, params.titles["profile"]))


def run(job: Job[Params]) -> None:
    """Draw the job's figure."""
    show(job, draw)
