"""The device of a step, its dtypes and its memory."""

import os

import torch

from selfloop.errors import UserError
from selfloop.processes.group import rank


def prepare_torch(threads: int, gpus: int = 0) -> torch.device:
    """The device to compute on: this rank's GPU if there is one, else the CPU; with deterministic algorithms.

    Args:
        threads: CPU threads of this process.
        gpus: GPUs that the step requested.

    Raises:
        UserError: fewer GPUs are visible.
    """
    torch.set_num_threads(threads)
    visible = torch.cuda.device_count()
    if gpus > max(visible, 1):
        raise UserError(
            f"resources: gpu: the job requests {gpus} GPUs, and {visible} are visible here. Request at most that "
            "many, or CPU processes with --set-resources train:processes=2."
        )
    if visible == 0:
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS is not deterministic
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = torch.device("cuda", rank())
    torch.cuda.set_device(device)
    return device


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix products; `precision` is "auto" (bfloat16 where it is native), "bfloat16" or "float32"."""
    if precision != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[precision]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_amx_tile_supported()  # AVX-512's bfloat16 is half as fast as float32
    return torch.bfloat16 if native else torch.float32


def cache_dtype(precision: str) -> torch.dtype:
    """The dtype of the KV cache: bfloat16 unless `precision` is "float32".

    Attention is memory-bound, so bfloat16 pays even where products are faster in float32.
    """
    return torch.float32 if precision == "float32" else torch.bfloat16


def total_memory(device: torch.device) -> int:
    """Bytes of memory of the device, used or free."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
