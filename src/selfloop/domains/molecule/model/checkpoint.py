"""Checkpoints of GeoDiff: model.safetensors, and config.json with the config's `model` section."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from selfloop.domains.checkpoint import load_weights, read_config, write_json
from selfloop.domains.molecule.config import Model
from selfloop.domains.molecule.model.network import GeoDiff, Shape

MODEL_TYPE = "geodiff"


def save_checkpoint(weights: Mapping[str, Tensor], model: Model, folder: Path) -> None:
    """Write a checkpoint to an existing folder.

    Args:
        weights: by parameter name.
        model: a config's `model` section.
        folder: existing.
    """
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", {"model_type": MODEL_TYPE, **model.plain})


def load_checkpoint(folder: Path, device: str = "cpu") -> tuple[GeoDiff, Model]:
    """The network of a checkpoint, in evaluation mode, and its `model` section.

    Raises:
        UserError: the folder is not such a checkpoint, or its tensors do not fit its config.
    """
    config = read_config(folder, MODEL_TYPE)
    del config["model_type"]
    section = Model.model_validate(config)
    model = GeoDiff(Shape.of(section))
    load_weights(model, load_file(folder / "model.safetensors"), folder)
    return model.to(device).eval(), section
