"""Where a step computes."""

import torch


def prepare_torch(threads: int) -> torch.device:
    """Set up torch for a step: the first GPU if there is one, else `threads` CPU threads; deterministic algorithms."""
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.use_deterministic_algorithms(True, warn_only=True)
        return torch.device("cuda")
    return torch.device("cpu")


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
