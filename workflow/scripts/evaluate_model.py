"""Rule evaluate_model; the work is done by the domain's module of that name."""

from selfloop.runner import run

run(f"selfloop.domains.{snakemake.params.settings['domain']}.evaluate_model", snakemake)
