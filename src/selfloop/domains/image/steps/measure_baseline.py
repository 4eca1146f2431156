"""Rule measure_baseline: the test loss of a decoder that always outputs the mean real train image."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from selfloop.data.measurements import write_measurements
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.image.data import image_store
from selfloop.jobs.job import Job, StepParams


def run(job: Job[StepParams]) -> None:
    """Its latents are the prior whatever the image, so it has no KL term."""
    total, rows = np.zeros(()), 0
    for images in _images(job, "train"):
        total, rows = total + images.sum(axis=0), rows + len(images)
    mean = total / rows
    squares, rows = 0.0, 0
    for images in _images(job, "test"):
        squares, rows = squares + float(np.square(images - mean).sum()), rows + len(images)
    error = squares / (rows * mean.size)
    write_measurements(job, {"test-baseline": {"total_loss": error, "reconstruction_mse": error, "kl_nats": 0.0}})


def _images(job: Job[StepParams], split: str) -> Iterator[np.ndarray]:
    """Batches of images as values in [-1, 1]."""
    folder = Path(job.input[split])
    batches = iterate_rows(shard_paths(folder), ["image"], image_store.ROWS_PER_GROUP)
    for images in image_store.arrays(batches, str(folder), job.threads):
        yield images / 127.5 - 1
