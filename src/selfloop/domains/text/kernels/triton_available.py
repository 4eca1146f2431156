"""Whether our kernels in Triton compute something; on CPUs, without the time that importing them takes."""

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


def triton_attends(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether `causal_attention` is to be taken for queries, keys and values of these."""
    if not triton_runs_on(device):
        return False
    # What torch.compile finds imported, it does not trace.
    from selfloop.domains.text.kernels.causal_attention import DTYPES, PLANS

    return dtype in DTYPES and head_size in PLANS
