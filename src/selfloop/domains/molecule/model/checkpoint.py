"""Checkpoints of GeoDiff: model.safetensors, tensors by name, and config.json, the config's `model` section."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from selfloop.data.atomic import whole_folder
from selfloop.domains.molecule.model.network import GeoDiff, Shape
from selfloop.errors import UserError

MODEL_TYPE = "geodiff"


def save_checkpoint(weights: Mapping[str, Tensor], model: Mapping[str, Any], folder: Path) -> None:
    """Write a checkpoint; the folder appears whole or not at all.

    Args:
        weights: by parameter name.
        model: a config's `model` section.
        folder: where it goes.
    """
    with whole_folder(folder) as scratch:
        tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
        save_file(tensors, scratch / "model.safetensors", metadata={"format": "pt"})
        config = {"model_type": MODEL_TYPE, **model}
        (scratch / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path, device: str = "cpu") -> tuple[GeoDiff, dict[str, Any]]:
    """The network of a checkpoint that `save_checkpoint` wrote, and its `model` section.

    Raises:
        UserError: the folder is not such a checkpoint.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.pop("model_type", None) != MODEL_TYPE:
        raise UserError(f"{folder} is not a checkpoint of GeoDiff.")
    model = GeoDiff(Shape.of(config))
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except RuntimeError as error:
        raise UserError(f"{folder}: model.safetensors does not fit its config.json ({error}).") from None
    return model.to(device).eval(), config
