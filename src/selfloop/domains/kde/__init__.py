"""Kernel density estimates: every model is its training rows, blurred."""
