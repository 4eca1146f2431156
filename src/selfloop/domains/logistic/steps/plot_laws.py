"""Simulated chains and the law of every regime; see `analysis.plot_laws`."""

from selfloop.analysis.plot_laws import Params, draw, run

__all__ = ["Params", "draw", "run"]
