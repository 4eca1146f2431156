"""Whole chains of many seeds, computed without files between."""
