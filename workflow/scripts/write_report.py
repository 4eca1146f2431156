"""Rule write_report; the work is done by the module of that name in selfloop.report."""

from selfloop.runner import run

run("selfloop.report.write_report", snakemake)
