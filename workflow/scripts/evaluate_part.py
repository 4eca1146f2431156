"""Rule evaluate_part; the work is done by the domain's module of that name."""

from selfloop.runner import run

run(f"selfloop.domains.{snakemake.params.settings['domain']}.evaluate_part", snakemake)
