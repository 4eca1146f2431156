"""Weights that are no numbers stop where they are read."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from selfloop.domains.checkpoint import load_weights
from selfloop.domains.linear.model import checkpoint as linear
from selfloop.errors import UserError


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_s_checkpoints_hold_no_nan_or_infinity(value: float, dtype: torch.dtype) -> None:
    model = nn.BatchNorm1d(3).to(dtype)  # with weights, statistics and a count
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_weights(model, tensors, Path("results/checkpoint"))
    tensors["running_var"][1] = value
    with pytest.raises(
        UserError, match=r"^results/checkpoint: running_var in model\.safetensors is not finite\. Delete"
    ):
        load_weights(model, tensors, Path("results/checkpoint"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_linear_checkpoints_hold_no_nan_or_infinity(value: float, tmp_path: Path) -> None:
    linear.save_checkpoint(np.array([1.0, value]), tmp_path)
    with pytest.raises(
        UserError, match=r"weight in model\.safetensors is not finite\. Delete .* and run Snakemake again"
    ):
        linear.load_checkpoint(tmp_path)
