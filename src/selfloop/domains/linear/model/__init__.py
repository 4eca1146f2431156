"""The model, its loss and its checkpoint."""
