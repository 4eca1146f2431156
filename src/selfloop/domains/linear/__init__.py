"""Linear regression: the model whose collapse the paper computes exactly (section 3, appendices B, E, F)."""
