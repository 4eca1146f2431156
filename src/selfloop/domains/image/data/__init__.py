"""Real data: sources and storage."""
