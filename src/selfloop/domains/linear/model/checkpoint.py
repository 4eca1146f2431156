"""Checkpoints of linear models: model.safetensors with `weight` (1, d), as `torch.nn.Linear` names it, and config.json.

In float64, written and read with numpy; `torch.nn.Linear(d, 1, bias=False, dtype=torch.float64)` loads them too.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from selfloop.checksums import REMEDY
from selfloop.domains.linear.theory import Array
from selfloop.errors import UserError


def save_checkpoint(w: Array, folder: Path) -> None:
    """Write the parameters w (d,) to an existing folder."""
    save_file({"weight": w[None]}, folder / "model.safetensors")
    config = {"model_type": "linear", "in_features": len(w), "out_features": 1, "bias": False, "dtype": "float64"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path) -> Array:
    """The parameters (d,) of a checkpoint that `save_checkpoint` wrote.

    Raises:
        UserError: a parameter is NaN or infinite.
    """
    w: Array = load_file(folder / "model.safetensors")["weight"][0]
    if not np.isfinite(w).all():
        raise UserError(f"{folder}: weight in model.safetensors is not finite. {REMEDY.format(folder)}")
    return w
