"""Saved state: a safetensors file with a fingerprint of what it belongs to, JSON values, and a checksum."""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

log = logging.getLogger(__name__)


def write(path: Path, tensors: Mapping[str, Tensor], fingerprint: str, values: str = "") -> None:
    """Write saved state with its fingerprint, JSON values and checksum."""
    metadata = {"fingerprint": fingerprint, "values": values, "checksum": _checksum(tensors, values)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def load(path: Path, fingerprint: str, otherwise: str) -> tuple[str, dict[str, Tensor]] | None:
    """The values and tensors of saved state, or None if there is none with this fingerprint that is as it was saved.

    Args:
        path: the file.
        fingerprint: of what it would be used for.
        otherwise: what is done without it, for the log.
    """
    if not os.path.lexists(path):
        return None
    try:
        metadata, tensors = read(path)
        if metadata["fingerprint"] != fingerprint:
            log.warning("%s is ignored: its config, data or code differ", path)
            return None
        return metadata["values"], tensors
    except Exception as error:  # of any kind: what is not readable is not needed
        log.warning("%s cannot be read (%s: %s); %s", path, type(error).__name__, error, otherwise)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)  # no file could be renamed to it
    return None


def read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and tensors of saved state.

    Raises:
        Exception: of any kind, if it is not as it was saved.
    """
    if not path.is_file():
        raise ValueError("it is not a file")
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    if metadata["checksum"] != _checksum(tensors, metadata["values"]):
        raise ValueError("its checksum is not that of what was saved")
    return metadata, tensors


def _checksum(tensors: Mapping[str, Tensor], values: str) -> str:
    """XXH3-128 of the contents, on the CPU one tensor at a time."""
    total = xxhash.xxh3_128(values.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
