"""The model: its fit, its checkpoint, and what is measured of it.

A checkpoint has model.safetensors with `weight` (1, d) and `bias` (1,), as `torch.nn.Linear` names them, in float64,
and config.json.
"""

import json
import warnings
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from selfloop.checksums import REMEDY
from selfloop.domains.logistic.rows import Array
from selfloop.errors import UserError

MOST_STEPS = 10_000


def fit(X: Array, y: Array, weights: Array | None, tolerance: float) -> Array:
    """Parameters (d + 1,) of the largest likelihood, by scikit-learn's L-BFGS; the last is the intercept.

    Where labels are all alike, the parameters are 0 but for the intercept, which gives them a probability of one in
    2·rows less than 1.

    Args:
        X: (rows, d).
        y: labels (rows,).
        weights: of the rows in the loss, with mean 1; None for 1.
        tolerance: where L-BFGS ends.
    """
    from sklearn.linear_model import LogisticRegression

    share = float(np.average(y, weights=weights))
    if share in (0.0, 1.0):
        intercept = np.log(2 * len(y) - 1)
        return np.append(np.zeros(X.shape[1]), intercept if share else -intercept)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of separable rows, whose parameters have no end
        model = LogisticRegression(C=np.inf, tol=tolerance, max_iter=MOST_STEPS).fit(X, y, weights)
    return np.append(model.coef_[0], model.intercept_)


def save_checkpoint(w: Array, folder: Path) -> None:
    """Write parameters (d + 1,) to an existing folder."""
    save_file({"weight": np.ascontiguousarray(w[None, :-1]), "bias": w[-1:].copy()}, folder / "model.safetensors")
    config = {"model_type": "logistic", "in_features": len(w) - 1, "out_features": 1, "dtype": "float64"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path) -> Array:
    """The parameters (d + 1,) of a checkpoint that `save_checkpoint` wrote.

    Raises:
        UserError: a parameter is NaN or infinite.
    """
    tensors = load_file(folder / "model.safetensors")
    w = np.append(tensors["weight"][0], tensors["bias"])
    if not np.isfinite(w).all():
        raise UserError(f"{folder}: a parameter in model.safetensors is not finite. {REMEDY.format(folder)}")
    return w


def measured(w: Array, X: Array, y: Array) -> dict[str, Array]:
    """What is measured of parameters (…, d + 1) on test rows.

    log_loss: in nats per row, of the softplus of scores, which cannot overflow; accuracy; length: of the parameters but
    the intercept.
    """
    scores = w[..., :-1] @ X.T + w[..., -1:]
    return {
        "log_loss": np.logaddexp(0, np.where(y == 1, -scores, scores)).mean(axis=-1),
        "accuracy": ((scores > 0) == (y == 1)).mean(axis=-1),
        "length": np.sqrt((w[..., :-1] ** 2).sum(axis=-1)),
    }
