"""Checkpoints: config.json with the model's shape, and model.safetensors."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from selfloop.domains.checkpoint import load_weights, read_config, write_json
from selfloop.domains.image.config import MODEL_TYPE
from selfloop.domains.image.model.network import Autoencoder, Shape


def save_checkpoint(shape: Shape, kl_weight: float, weights: dict[str, Tensor], folder: Path) -> None:
    """Write a checkpoint to an existing folder; `weights` are those of `selfloop.training.loop.Fit`."""
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    config = {
        "model_type": MODEL_TYPE,
        "image_size": shape.size,
        "color": shape.color,
        "channels": list(shape.channels),
        "latent": shape.latent,
        "kl_weight": kl_weight,
    }
    write_json(folder / "config.json", config)


def load_checkpoint(folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[Autoencoder, float]:
    """The model of a checkpoint, in evaluation mode, and the KL weight it was trained with.

    Raises:
        UserError: the folder is not such a checkpoint, or its tensors do not fit its config.
    """
    config = read_config(folder, MODEL_TYPE)
    model = Autoencoder(Shape(config["image_size"], config["color"], tuple(config["channels"]), config["latent"]))
    load_weights(model, load_file(folder / "model.safetensors"), folder)
    model = model.to(device)
    for parameter in model.parameters():  # BatchNorm's statistics stay float32, see `network.Norm`
        parameter.data = parameter.data.to(dtype)
    return model.eval(), float(config["kl_weight"])
