"""Simulated means over their laws; see `analysis.write_laws`."""

from selfloop.analysis.show import Params
from selfloop.analysis.write_laws import READABLE, draw, run

__all__ = ["READABLE", "Params", "draw", "run"]
