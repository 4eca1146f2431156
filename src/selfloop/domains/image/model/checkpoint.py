"""Checkpoints: config.json, which says the model's shape, and model.safetensors."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from selfloop.domains.image.model.network import Autoencoder, Shape
from selfloop.errors import UserError

KIND = "convolutional-vae"


def save_checkpoint(shape: Shape, kl_weight: float, weights: dict[str, Tensor], folder: Path) -> None:
    """Write a checkpoint to an existing folder; `weights` are those of `selfloop.training.loop.Fit`."""
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    config = {
        "model_type": KIND,
        "image_size": shape.size,
        "color": shape.color,
        "channels": list(shape.channels),
        "latent": shape.latent,
        "kl_weight": kl_weight,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[Autoencoder, float]:
    """The model of a checkpoint, in evaluation mode, and the weight of KL in the loss it was trained with.

    Raises:
        UserError: the folder is not such a checkpoint, or its tensors do not fit its config.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != KIND:
        raise UserError(f"{folder}: model_type '{config.get('model_type')}' is not {KIND}.")
    model = Autoencoder(Shape(config["image_size"], config["color"], tuple(config["channels"]), config["latent"]))
    own = model.state_dict()
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
        if names != set(own):
            raise UserError(f"{folder}: its tensors are not those of its config: {', '.join(sorted(names ^ set(own)))}")
        for name, tensor in own.items():
            stored = file.get_tensor(name)
            if stored.shape != tensor.shape:
                raise UserError(f"{folder}: tensor '{name}' {tuple(stored.shape)} does not fit its config.json.")
            tensor.copy_(stored)
    model = model.to(device)
    for parameter in model.parameters():  # statistics stay float32, see `model.Norm`
        parameter.data = parameter.data.to(dtype)
    return model.eval(), float(config["kl_weight"])
