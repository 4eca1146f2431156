"""Rule plot_headline; the work is done by the module of that name in selfloop.analysis."""

from selfloop.runner import run

run("selfloop.analysis.plot_headline", snakemake)
