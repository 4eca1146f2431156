"""Words or categories drawn by their frequencies: which types die, and how little the loss says of it."""
