"""Steps of the loop, one module each, and of what this domain shows."""
