"""Rule write_tables; the work is done by the module of that name in selfloop.analysis."""

from selfloop.runner import run

run("selfloop.analysis.write_tables", snakemake)
