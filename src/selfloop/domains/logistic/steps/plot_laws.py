"""Simulated chains and the law of every regime; see `analysis.plot_laws`."""

from selfloop.analysis.plot_laws import draw, run
from selfloop.analysis.show import Params

__all__ = ["Params", "draw", "run"]
