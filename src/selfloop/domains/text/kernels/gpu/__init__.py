"""Kernels of training and sampling in Triton, and what launches them."""
