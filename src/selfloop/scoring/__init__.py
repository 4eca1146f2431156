"""Scores of sampled rows that all domains have: by the user's own program, and by a detector."""
