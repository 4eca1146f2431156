"""What one `snakemake` command sets up around its jobs, and clears away after them."""
