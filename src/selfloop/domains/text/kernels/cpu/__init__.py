"""The sampler's loops, compiled by LLVM when a step begins."""
