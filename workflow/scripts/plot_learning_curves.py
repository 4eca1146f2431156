"""Rule plot_learning_curves; the work is done by the module of that name in selfloop.analysis."""

from selfloop.runner import run

run("selfloop.analysis.plot_learning_curves", snakemake)
