"""How a step runs: its process, log, record and GPUs."""
