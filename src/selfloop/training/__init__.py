"""The training loop that all domains share: optimizer, learning-rate schedule, resuming, devices."""
