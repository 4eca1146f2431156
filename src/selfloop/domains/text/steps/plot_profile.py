"""The profile of sampled text: its measures, perplexities under model 1 by iteration, losses by frequency of tokens."""

from functools import partial
from typing import TypeAlias

import pandas as pd

from selfloop.analysis.profile_figures import bands_figure, curves_figure, measures_figure
from selfloop.analysis.show import Asking, Drawn, show
from selfloop.analysis.style import save
from selfloop.data.profile import Measure
from selfloop.jobs.job import Job

Params: TypeAlias = Asking[list[Measure]]


def draw(profile: pd.DataFrame, params: Params) -> Drawn:
    """Draw the three figures."""
    titles, domain = params.titles, params.domain
    yield "profile", partial(save, measures_figure(profile, domain, params.asked, titles["profile"]))
    x, y = "Log perplexity of a document under model 1 (nats per token)", "Share of documents"
    figure = curves_figure(profile, domain, "log_perplexity", x, y, title=titles["perplexity"])
    yield "perplexity", partial(save, figure)
    y = "Cross-entropy of real tokens (nats)"
    yield "bands", partial(save, bands_figure(profile, domain, "band_cross_entropy", y, title=titles["bands"]))


def run(job: Job[Params]) -> None:
    """Draw the job's figures."""
    show(job, draw)
