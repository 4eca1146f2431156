"""For all unit tests."""

import os

# The models here are so small that more threads only wait for each other. Before the first import of torch.
os.environ["OMP_NUM_THREADS"] = "1"
# No test asks the hub for anything.
os.environ["HF_HUB_OFFLINE"] = "1"
# Kernels in Triton run in NumPy. Before the first import of Triton.
os.environ["TRITON_INTERPRET"] = "1"
