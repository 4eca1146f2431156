"""Rule score: how well each image is reconstructed, or how near a real one, and what all domains have."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.image.data import image_store
from selfloop.domains.image.metrics import space_of
from selfloop.domains.image.model.checkpoint import load_checkpoint
from selfloop.domains.image.model.loss import image_terms
from selfloop.jobs.job import Job
from selfloop.scoring.detector import Floats
from selfloop.scoring.scores import ScoreParams as Params
from selfloop.scoring.scores import checkpoint_of, score_part
from selfloop.training.devices import note, prepare_torch

MOST_FOR_SPACE = 2_000  # real images
BLOCK = 500  # images whose distances from real ones are in memory at a time


def run(job: Job[Params]) -> None:
    """Write the score of every image."""
    score_part(job, _features(job), lambda: _own(job))


def _own(job: Job[Params]) -> Floats:
    """By `job.params.scorer`.

    `reconstruction`: minus the mean squared error of pixels in [-1, 1]; `oracle`: minus the referee's whole loss;
    `nearest`: minus the root mean square difference of pixels to the nearest real train image.
    """
    scorer, images = job.params.scorer, _images(job, "part")
    if scorer.by == "nearest":
        return -nearest_distances(images, _images(job, "real"))
    device = prepare_torch(job.threads, job.gpus)
    note(job, device, torch.float32)
    model, kl_weight = load_checkpoint(checkpoint_of(job), device=str(device))
    errors, divergences = image_terms(model, torch.from_numpy(images), device)
    return -(errors + kl_weight * divergences if scorer.by == "oracle" else errors)


def nearest_distances(images: np.ndarray, real: np.ndarray) -> Floats:
    """Root mean square difference of pixels in [-1, 1] between each image and the nearest real one, (rows,).

    Args:
        images, real: uint8 [rows, bands, size, size].
    """
    others = real.reshape(len(real), -1).astype(np.float32) / 127.5 - 1
    squares = (others.astype(np.float64) ** 2).sum(axis=1)
    found = []
    for begin in range(0, len(images), BLOCK):
        own = images[begin : begin + BLOCK].reshape(-1, others.shape[1]).astype(np.float32) / 127.5 - 1
        near = (squares - 2.0 * (own @ others.T)).min(axis=1) + (own.astype(np.float64) ** 2).sum(axis=1)
        found.append(np.sqrt(near.clip(0) / others.shape[1]))
    return np.concatenate(found)


def _features(job: Job[Params]) -> Callable[[Path], Floats]:
    """Principal components of the real images, their squares, and how much there is from pixel to pixel.

    Samples of an autoencoder have less variance than real images, and are smoother.
    """
    space = space_of(_images(job, "real")[:MOST_FOR_SPACE]) if job.params.scorer.by == "detector" else None

    def features(folder: Path) -> Floats:
        assert space is not None
        images = _read(folder, job.threads)
        own = space.features(images)
        pixels = images.astype(np.float32)
        steps = [np.square(np.diff(pixels, axis=axis)).mean(axis=(1, 2, 3)) for axis in (2, 3)]
        return np.column_stack([own, own**2, *np.log1p(steps)])

    return features


def _images(job: Job[Params], name: str) -> np.ndarray:
    return _read(Path(job.input[name]), job.threads)


def _read(folder: Path, threads: int) -> np.ndarray:
    """All images of a data set, uint8 [rows, bands, size, size]."""
    batches = iterate_rows(shard_paths(folder), ["image"], image_store.ROWS_PER_GROUP)
    return image_store.in_memory(batches, str(folder), threads)
