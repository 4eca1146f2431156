"""Whether kernels in Triton can be compiled for a GPU."""

import importlib.util
from functools import cache

import torch

from selfloop.training.devices import missing_to_compile

CAPABILITY = (8, 0)  # the first with products of bfloat16


@cache
def triton_runs_on(device: torch.device) -> bool:
    """Whether it does: it comes with PyTorch's CUDA builds, and what it launches is compiled by a C compiler."""
    return (
        device.type == "cuda"
        and importlib.util.find_spec("triton") is not None
        and torch.cuda.get_device_capability(device) >= CAPABILITY
        and missing_to_compile(device) is None
    )
