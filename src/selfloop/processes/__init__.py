"""The processes of a step: which GPUs they have, how they lock, stop and end with each other."""
