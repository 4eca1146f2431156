"""The model: its training rows and a bandwidth; its checkpoint, and what is measured of it.

A checkpoint has model.safetensors with `points` (N, d) and `weights` (N,), which add up to 1, in float64, and
config.json with the bandwidth.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from selfloop.checksums import REMEDY
from selfloop.domains.vectors import Array
from selfloop.errors import UserError

NUMBERS = 2**22  # distances in memory at a time


@dataclass(frozen=True)
class Model:
    """Points (N, d), their weights (N,), which add up to 1, and the kernel's standard deviation."""

    points: Array
    weights: Array
    bandwidth: float

    def sample(self, generator: np.random.Generator, rows: int) -> Array:
        """Rows of the density, (rows, d): points by their weights, and the kernel's noise."""
        chosen = generator.choice(len(self.points), rows, p=self.weights)
        noise = generator.standard_normal((rows, self.points.shape[1]))
        return np.asarray(self.points[chosen] + self.bandwidth * noise)

    def log_density(self, X: Array) -> Array:
        """Of rows X (rows, d), (rows,)."""
        step = max(1, NUMBERS // len(self.points))
        blocks = [self._log_density(X[begin : begin + step]) for begin in range(0, len(X), step)]
        return np.concatenate(blocks)

    def _log_density(self, X: Array) -> Array:
        squares = (X**2).sum(axis=1)[:, None] - 2 * X @ self.points.T + (self.points**2).sum(axis=1)
        h2 = self.bandwidth**2
        kernels = log_mean(squares.clip(0) / (2 * h2), self.weights)
        return np.asarray(kernels - 0.5 * X.shape[1] * np.log(2 * np.pi * h2))


def log_mean(exponents: Array, weights: Array) -> Array:
    """log Σ_j weights_j exp(-exponents_j) over the last axis; `exponents` (rows, N) are overwritten."""
    least = exponents.min(axis=1, keepdims=True)
    np.exp(np.subtract(least, exponents, out=exponents), out=exponents)
    return np.asarray(np.log(exponents @ weights) - least[:, 0])


def save_checkpoint(model: Model, folder: Path) -> None:
    """Write the model to an existing folder."""
    tensors = {"points": np.ascontiguousarray(model.points), "weights": np.ascontiguousarray(model.weights)}
    save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "kde", "kernel": "gaussian", "bandwidth": model.bandwidth, "dtype": "float64"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path) -> Model:
    """The model of a checkpoint that `save_checkpoint` wrote.

    Raises:
        UserError: a number is NaN or infinite.
    """
    tensors = load_file(folder / "model.safetensors")
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise UserError(f"{folder}: {name} in model.safetensors is not finite. {REMEDY.format(folder)}")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return Model(tensors["points"], tensors["weights"], float(config["bandwidth"]))


def variance(points: Array, weights: Array | None = None) -> Array:
    """The mean over coordinates of the variance of points (…, N, d), with weights (…, N) that add up to 1."""
    if weights is None:
        return np.asarray(points.var(axis=-2).mean(axis=-1))
    mean = (points * weights[..., None]).sum(axis=-2, keepdims=True)
    return np.asarray(((points - mean) ** 2 * weights[..., None]).sum(axis=-2).mean(axis=-1))
