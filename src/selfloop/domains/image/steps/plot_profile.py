"""The profile of sampled images: its measures, power by radius, and a map of samples."""

from functools import partial

import pandas as pd

from selfloop.analysis.profile_figures import curves_figure, map_figure, measures_figure
from selfloop.analysis.show import Drawn, Params, show
from selfloop.analysis.style import save
from selfloop.data.profile import Measure
from selfloop.jobs.job import Job


def draw(profile: pd.DataFrame, params: Params) -> Drawn:
    """Draw the three figures."""
    titles, domain = params.titles, params.domain
    measures = [Measure(**measure) for measure in params.asked]
    yield "profile", partial(save, measures_figure(profile, domain, measures, titles["profile"]))
    x = "Radius (cycles per image)"
    figure = curves_figure(profile, domain, "power", x, "Mean power", title=titles["spectra"], log=True)
    yield "spectra", partial(save, figure)
    yield "map", partial(save, map_figure(profile, domain, ("map_1", "map_2"), title=titles["map"]))


def run(job: Job[Params]) -> None:
    """Draw the job's figures."""
    show(job, draw)
