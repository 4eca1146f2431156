"""Sampling documents from a model."""
