"""From a checked config to the jobs of a study. Light: every cluster job parses the Snakefile, which imports it."""
