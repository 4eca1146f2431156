"""What the checkpoints of all torch domains share: config.json and model.safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selfloop.checksums import REMEDY
from selfloop.errors import UserError


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a mapping as indented JSON with sorted keys."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_config(folder: Path, *model_types: str) -> dict[str, Any]:
    """The config.json of a checkpoint of one of these model types.

    Raises:
        UserError: it is of another type.
    """
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") not in model_types:
        allowed = ", ".join(model_types)
        raise UserError(f"{folder}: model_type '{config.get('model_type')}' is not supported (allowed: {allowed}).")
    return config


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Copy a checkpoint's tensors into the model, all of them and no others.

    Raises:
        UserError: a name or shape does not match the model, or a value is NaN or infinite.
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{folder}: {name} in model.safetensors is not finite. {REMEDY.format(folder)}")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        details = " ".join(str(error).split())
        raise UserError(f"{folder}: model.safetensors does not fit its config.json ({details}).") from None
