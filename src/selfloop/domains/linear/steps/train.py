"""Rule train: least squares on the rows of a training set, or ridge regression."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from selfloop.data import training_set
from selfloop.data.atomic import atomic_folder
from selfloop.data.learning_curve import write_curve
from selfloop.domains.linear.config import Data, Training
from selfloop.domains.linear.data.rows import noisy
from selfloop.domains.linear.data.sources import real_noise
from selfloop.domains.linear.model.checkpoint import save_checkpoint
from selfloop.domains.linear.theory import Array
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    training: Training
    data: Data
    seed: int


def run(job: Job[Params]) -> None:
    """Fit `job.input.training_set`; write a checkpoint and an empty learning curve."""
    folder = Path(job.input["training_set"])
    noise = real_noise(job.params.data, job.params.seed)
    found = training_set.rows(folder, ["x", "y", "iteration", "row"])
    batches: Iterator[tuple[Array, Array]] = (noisy(batch, noise) for batch in found)
    weights = training_set.weights(folder)
    if weights is not None:
        batches = weighted(batches, weights)
    w, rank, rows = fit(batches, job.params.training.ridge)
    job.did(rows, "rows")
    job.log.info("fitted %d parameters to %d rows", len(w), rows)
    if rank < len(w):
        job.log.warning("the rows span %d of %d dimensions; taking the minimum-norm solution", rank, len(w))
    if not np.isfinite(w).all():
        raise UserError(f"{folder} led to parameters that are not finite.")
    with atomic_folder(Path(job.output["checkpoint"])) as scratch:
        save_checkpoint(w, scratch)
    write_curve([], Path(job.output["learning_curve"]))  # last: it marks the training as finished


def weighted(batches: Iterable[tuple[Array, Array]], weights: Array) -> Iterator[tuple[Array, Array]]:
    """Batches whose squared errors are those of `batches`, times the weight of each of their rows."""
    begin = 0
    for X, y in batches:
        scale = np.sqrt(weights[begin : begin + len(y)])
        begin += len(y)
        yield X * scale[:, None], y * scale


def fit(batches: Iterable[tuple[Array, Array]], ridge: float) -> tuple[Array, int, int]:
    """The minimum-norm minimiser of (1/N)‖Xw - y‖² + ridge‖w‖²; memory is bounded by one batch.

    Keeps the R factor of a QR decomposition of all rows [X y] so far: forming XᵀX would square the condition number.

    Args:
        batches: X (rows, d) and y (rows,).
        ridge: λ ≥ 0 per row, as in `Scenario`.

    Returns:
        w (d,), the rank of X (with ridge: d), and N.
    """
    rows = 0
    R: Array | None = None
    for X, y in batches:
        batch = np.column_stack([X, y])
        R = np.asarray(np.linalg.qr(batch if R is None else np.vstack([R, batch]), mode="r"))
        rows += len(y)
    if R is None:
        raise ValueError("no rows to fit")
    d = R.shape[1] - 1
    if ridge:
        R = np.vstack([R, (ridge * rows) ** 0.5 * np.eye(d, d + 1)])
    w, _, rank, _ = np.linalg.lstsq(R[:, :d], R[:, d], rcond=None)
    return np.asarray(w), int(rank), rows
