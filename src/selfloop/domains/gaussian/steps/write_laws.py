"""Simulated means over their laws; see `analysis.write_laws`."""

from selfloop.analysis.write_laws import READABLE, Params, draw, run

__all__ = ["READABLE", "Params", "draw", "run"]
