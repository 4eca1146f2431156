"""Whether our kernels of attention in Triton compute something; on CPUs, without the time that importing them takes."""

import torch

from selfloop.training.triton_available import triton_runs_on


def triton_attends(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether `causal_attention` is to be taken for queries, keys and values of these."""
    if not triton_runs_on(device):
        return False
    # What torch.compile finds imported, it does not trace.
    from selfloop.domains.text.kernels.gpu.causal_attention import DTYPES, PLANS

    return dtype in DTYPES and head_size in PLANS
