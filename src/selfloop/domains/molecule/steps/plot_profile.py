"""The measures of the profile; see `analysis.plot_profile`."""

from selfloop.analysis.plot_profile import Params, draw, run

__all__ = ["Params", "draw", "run"]
