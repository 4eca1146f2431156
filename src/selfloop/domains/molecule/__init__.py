"""Molecular conformations: GeoDiff in the loop."""
