"""selfloop: what happens when generative models are trained on their own output.

The package is imported by the Snakefile (light modules only: study, regimes, config, code) and by the job scripts.
This file imports nothing, so that a step's code digest covers just the modules that the step uses.
"""
