"""The rules of a domain's own analyses; the work is done by the domain's module that the rule names."""

from selfloop.runner import run

run(f"selfloop.domains.{snakemake.params.domain}.{snakemake.params.step}", snakemake)
