"""Where a step computes."""

import os

import torch

from selfloop.errors import UserError


def prepare_torch(threads: int, gpus: int = 0) -> torch.device:
    """Set up torch for a step: a GPU if there is one, else `threads` CPU threads; deterministic algorithms.

    Args:
        threads: CPU threads of this process.
        gpus: how many GPUs the step asked for; with more than one, this process takes the one of its rank.

    Raises:
        UserError: there are fewer.
    """
    torch.set_num_threads(threads)
    there = torch.cuda.device_count()
    if gpus > max(there, 1):
        raise UserError(
            f"resources: gpu: the job asks for {gpus} GPUs, and this machine shows it {there}. Ask for at most that "
            "many, or for CPU processes with --set-resources train:processes=2."
        )
    if there == 0:
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS may sum in another order each time
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """The number format of the matrix products: bfloat16 where the hardware multiplies it natively.

    `precision` is "auto", "bfloat16" or "float32".
    """
    if precision != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[precision]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_amx_tile_supported()  # AVX-512's bfloat16 is half as fast as float32
    return torch.bfloat16 if native else torch.float32


def cache_precision(precision: str) -> torch.dtype:
    """The number format of a sampler's cache: bfloat16 holds twice as much and is read in half the time.

    Even where products are faster in float32, attention is bound by reading. "float32" asks for exact sampling.
    """
    return torch.float32 if precision == "float32" else torch.bfloat16


def memory(device: torch.device) -> int:
    """Bytes of memory that the device has in all."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
