"""The measures of the profile; see `analysis.plot_profile`."""

from selfloop.analysis.plot_profile import draw, run
from selfloop.analysis.show import Params

__all__ = ["Params", "draw", "run"]
