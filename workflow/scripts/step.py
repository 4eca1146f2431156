"""The entry point of every rule: rule and domain say which module of the library does the work."""

from selfloop.jobs.run import run

run(snakemake)
