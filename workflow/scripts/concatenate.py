"""Rule concatenate; the work is done by selfloop.training_set."""

from selfloop.runner import run

run("selfloop.training_set", snakemake)
