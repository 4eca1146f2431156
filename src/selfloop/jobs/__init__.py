"""How a step runs: its process, its log, its GPUs, its record."""
