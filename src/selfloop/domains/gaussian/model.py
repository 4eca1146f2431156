"""The model: its fit, its checkpoint, and what is measured of it.

A checkpoint has model.safetensors with `mean` (d,) and `covariance` (d, d) in float64, and config.json.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from selfloop.checksums import REMEDY
from selfloop.domains.gaussian.config import Covariance
from selfloop.domains.vectors import Array
from selfloop.errors import UserError


@dataclass(frozen=True)
class Model:
    """A mean (d,) and a covariance (d, d)."""

    mean: Array
    covariance: Array

    @property
    def factor(self) -> Array:
        """F (d, d) with FFᵀ the covariance, which may be singular."""
        values, vectors = np.linalg.eigh(self.covariance)
        return np.asarray(vectors * np.sqrt(values.clip(0)))


def fit(batches: Iterable[tuple[Array, Array]], estimate: Covariance = "maximum-likelihood") -> tuple[Model, int]:
    """The mean and covariance of rows, and their number.

    Args:
        batches: rows (rows, d) with their weights (rows,).
        estimate: of the covariance; `known` is that of N(0, I).

    Raises:
        UserError: there are too few rows for the estimate.
    """
    rows, total, squares = 0, 0.0, 0.0
    mean = covariance = np.zeros(())
    for X, weight in batches:
        own = float(weight.sum())
        middle = weight @ X / own
        away = X - middle
        share = own / (total + own)
        # Chan et al. 1979: the batch's own moments, and those of the two means.
        between = np.outer(middle - mean, middle - mean) if rows else 0.0
        covariance = (1 - share) * covariance + share * (away.T * weight @ away / own) + share * (1 - share) * between
        mean = (1 - share) * mean + share * middle
        rows, total, squares = rows + len(X), total + own, squares + float(weight @ weight)
    effective = total**2 / squares
    if estimate == "known":
        return Model(mean, np.eye(len(mean))), rows
    if estimate == "unbiased":
        if effective <= 1:
            raise UserError("training.covariance: 'unbiased' needs training sets of two rows or more.")
        covariance = covariance * effective / (effective - 1)
    return Model(mean, covariance), rows


def weighted(batches: Iterable[Array], weights: Array | None) -> Iterator[tuple[Array, Array]]:
    """Batches of rows, each with the weights of its rows; None for 1."""
    begin = 0
    for X in batches:
        yield X, np.ones(len(X)) if weights is None else weights[begin : begin + len(X)]
        begin += len(X)


def save_checkpoint(model: Model, folder: Path) -> None:
    """Write the model to an existing folder."""
    tensors = {"mean": model.mean, "covariance": np.ascontiguousarray(model.covariance)}
    save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "gaussian", "dimension": len(model.mean), "dtype": "float64"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path) -> Model:
    """The model of a checkpoint that `save_checkpoint` wrote.

    Raises:
        UserError: a parameter is NaN or infinite.
    """
    tensors = load_file(folder / "model.safetensors")
    for name, array in tensors.items():
        if not np.isfinite(array).all():
            raise UserError(f"{folder}: {name} in model.safetensors is not finite. {REMEDY.format(folder)}")
    return Model(tensors["mean"], tensors["covariance"])


def whitening(real: Model) -> tuple[Array, Array]:
    """The real distribution's mean (d,) and W (d, d), which takes rows x - mean to unit covariance: (x - mean) W."""
    return real.mean, np.linalg.inv(np.linalg.cholesky(real.covariance)).T


def measured(model: Model, real: Model) -> dict[str, float]:
    """How a model differs from the real distribution, per dimension.

    mean_error: squared distance of the means in the metric of the real covariance; variance: trace of the covariance in
    it; deviation: mean of the standard deviations along the axes of `whitening`; log_determinant: logarithm of the
    ratio of determinants, left out of a singular covariance.
    """
    mean, W = whitening(real)
    covariance = W.T @ model.covariance @ W
    d = len(mean)
    variances = np.diag(covariance)
    found = {
        "mean_error": float(np.mean(((model.mean - mean) @ W) ** 2)),
        "variance": float(variances.mean()),
        "deviation": float(np.sqrt(variances.clip(0)).mean()),
    }
    sign, logarithm = np.linalg.slogdet(covariance)
    return found if sign <= 0 or not np.isfinite(logarithm) else {**found, "log_determinant": float(logarithm / d)}
