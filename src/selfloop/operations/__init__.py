"""The commands beside Snakemake: estimate, status, prune."""
