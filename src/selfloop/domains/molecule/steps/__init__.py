"""One module per rule, each with run(job)."""
