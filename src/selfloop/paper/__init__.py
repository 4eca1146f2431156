"""All that knows the one paper whose experiments this workflow implements."""
