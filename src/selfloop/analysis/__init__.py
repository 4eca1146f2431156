"""Figures and tables of a study, drawn from its two tidy tables.

`read` selects and labels rows; `figures` and the modules named like rules draw; `style` and `table` write files.
Imports nothing, so that a step's code digest stays narrow.
"""
