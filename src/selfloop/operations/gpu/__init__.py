"""What `selfloop check-gpu` does."""
