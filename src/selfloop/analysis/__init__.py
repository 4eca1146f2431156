"""Figures and tables of a study, drawn from its two tidy tables.

`read` selects rows; `figures`, `learning` and `tables` draw; `slopes` holds the statistics; `style` holds the colours
and writes figure files. Functions are pure: a data frame in, a figure, a data frame or a text out; writing is separate.
This file imports nothing, so that a step's code digest covers just the modules that the step uses.
"""
