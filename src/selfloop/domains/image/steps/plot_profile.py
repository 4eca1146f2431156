"""The profile of sampled images: its measures, power by radius, and a map of samples."""

from functools import partial
from typing import TypeAlias

import pandas as pd

from selfloop.analysis.profile_figures import curves_figure, map_figure, measures_figure
from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.style import save
from selfloop.data.profile import Measure
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[list[Measure]]


def draw(profile: pd.DataFrame, params: Params) -> Drawn:
    """Draw the three figures."""
    titles, domain = params.titles, params.domain
    yield "profile", partial(save, measures_figure(profile, domain, params.asked, titles["profile"]))
    x = "Radius (cycles per image)"
    figure = curves_figure(profile, domain, "power", x, "Mean power", title=titles["spectra"], log=True)
    yield "spectra", partial(save, figure)
    yield "map", partial(save, map_figure(profile, domain, ("map_1", "map_2"), title=titles["map"]))


def run(job: Job[Params]) -> None:
    """Draw the job's figures."""
    show(job, draw)
