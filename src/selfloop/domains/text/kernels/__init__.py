"""Loops of the sampler that are compiled for the processor they run on."""
