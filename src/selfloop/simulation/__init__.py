"""Regimes of models of a few numbers: the law of any, and chains of many seeds at once, without files."""
