"""Rule collect_metrics; the work is done by selfloop.collect."""

from selfloop.runner import run

run("selfloop.collect", snakemake)
