"""Loops that are compiled for the processor, or the GPU, that they run on."""
