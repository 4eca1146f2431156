"""Rule train: fit one variational autoencoder to its training set."""

import math
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from selfloop.data import training_set
from selfloop.data.learning_curve import of_validation
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.image.config import Model, Training
from selfloop.domains.image.data import image_store
from selfloop.domains.image.model.checkpoint import load_checkpoint, save_checkpoint
from selfloop.domains.image.model.loss import measure, terms
from selfloop.domains.image.model.network import Autoencoder, Shape, build, share_statistics
from selfloop.errors import UserError
from selfloop.identity import stream
from selfloop.jobs.job import Job
from selfloop.training.devices import compute_dtype, note, prepare_torch
from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup, process_group
from selfloop.training.loop import TrainParams, train_and_save
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.malloc import keep_freed_memory
from selfloop.training.transfer import to_device

COLORS = {1: "gray", 3: "rgb"}


class Params(TrainParams):
    """What the step takes of its params."""

    model: Model
    training: Training


class Batch(NamedTuple):
    """One rank's share of a batch.

    Attributes:
        images: uint8 [rows, bands, size, size].
        noise: of their latents [rows, latent].
        whole: images of the whole batch.
        weights: of the images in the loss [rows], or None.
    """

    images: Tensor
    noise: Tensor
    whole: int
    weights: Tensor | None = None


class ImageTask:
    """Images in random order, randomly flipped, and the noise of their latents.

    Each epoch is a fresh permutation, split into batches whose sizes differ by at most one: a small last batch would
    have poor BatchNorm statistics. There are at least two images per batch: BatchNorm cannot train on one.

    Args:
        train: uint8 [rows, bands, size, size], possibly memory-mapped.
        test: uint8 of the same shape, the real test images.
        training: the config's section.
        latent: dimensions of the model's latent.
        streams: of the model, see `identity.stream`.
        device: of the model.
        group: the ranks that share every batch.
        validation: as `test`, the images that the schedule plateau watches; None for other schedules.
        weights: of the training images in the loss [rows]; None for 1.
    """

    unit = "images"

    def __init__(
        self,
        train: np.ndarray,
        test: np.ndarray,
        training: Training,
        latent: int,
        streams: str,
        device: torch.device,
        group: ProcessGroup = SINGLE_PROCESS,
        validation: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        self.group = group
        self.validation = None if validation is None else torch.from_numpy(validation)
        self.rows = len(train)
        self.test = torch.from_numpy(test)
        self.kl_weight, self.flip, self.latent = training.kl_weight, training.flip, latent
        self.streams, self.device = streams, device
        most = max(1, self.rows // 2)
        self.batches_per_epoch = min(math.ceil(self.rows / training.batch_size), most)
        self.steps_per_epoch = float(self.batches_per_epoch)
        self.steps = training.optimizer_steps(self.batches_per_epoch)
        self._train = train
        self._weights = None if weights is None else torch.from_numpy(weights).float()
        self._resident = _on_device(train, device)
        self._epoch = lru_cache(maxsize=2)(self._batches)

    def _batches(self, epoch: int) -> list[np.ndarray]:
        order = np.random.default_rng([stream(self.streams, "order"), epoch]).permutation(self.rows)
        return np.array_split(order, self.batches_per_epoch)

    def batch(self, step: int) -> Batch:
        """This rank's share of a step's images."""
        rows = self._epoch(step // self.batches_per_epoch)[step % self.batches_per_epoch]
        generator = torch.Generator(self.device).manual_seed(stream(self.streams, f"step {step}"))
        noise = torch.randn(len(rows), self.latent, generator=generator, device=self.device)
        flipped = torch.rand(len(rows), generator=generator, device=self.device) < 0.5
        count, share = len(rows), slice(self.group.rank, None, self.group.size)
        rows, noise, flipped = rows[share], noise[share], flipped[share]
        if self._resident is None:
            images = to_device(self._train[rows], self.device)
        else:
            images = self._resident[to_device(rows, self.device)]
        if self.flip:
            images = torch.where(flipped[:, None, None, None], images.flip(3), images)
        if self._weights is None:
            return Batch(images, noise, count)
        return Batch(images, noise, count, to_device(self._weights[torch.from_numpy(rows)], self.device))

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Squared error per pixel value plus the weighted KL divergence, means over the batch."""
        assert isinstance(model, Autoencoder)
        error, divergence = terms(model, batch.images, batch.noise)
        if batch.weights is not None:
            error, divergence = error * batch.weights, divergence * batch.weights
        loss: Tensor = (error.sum() + self.kl_weight * divergence.sum()) / batch.whole
        return loss

    def graph_key(self, model: nn.Module, batch: Batch) -> Hashable | None:
        """The sizes of the share and of the batch; None where BatchNorm sums over ranks."""
        if self.group.size > 1:
            return None
        return batch.images.shape, batch.whole, batch.weights is None

    def size(self, batch: Batch) -> int:
        """Images of the batch."""
        return len(batch.images)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """The loss and its terms on the real test images, in the training's compute dtype, and on those watched."""
        assert isinstance(model, Autoencoder)
        metrics = measure(model, self.test, self.kl_weight, self.device)
        if self.validation is None:
            return metrics
        return metrics | of_validation(measure(model, self.validation, self.kl_weight, self.device))


def _held_out(folder: Path, threads: int) -> np.ndarray:
    batches = iterate_rows(shard_paths(folder), ["image"], image_store.ROWS_PER_GROUP)
    return image_store.in_memory(batches, str(folder), threads)


def _on_device(images: np.ndarray, device: torch.device) -> Tensor | None:
    """The images on the GPU if they fit half of its free memory, else None."""
    if device.type != "cuda" or images.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return None
    return torch.from_numpy(np.array(images)).to(device)


def run(job: Job[Params]) -> None:
    """Train from `job.input.training_set`; write a checkpoint and a learning curve."""
    device = prepare_torch(job.threads, job.gpus)
    with process_group(device) as group:
        train_model(job, device, group)


def train_model(job: Job[Params], device: torch.device, group: ProcessGroup) -> None:
    """Train as one rank of a process group.

    Raises:
        UserError: too few images for a batch, or a batch too small for the number of processes.
    """
    training = job.params.training
    folder, test_folder = Path(job.input["training_set"]), Path(job.input["test"])
    batches = training_set.rows(folder, ["image"], image_store.ROWS_PER_GROUP)
    # A copy per rank; a shared one would need its shape communicated.
    target = Path(job.params.state) / f"images-{group.rank}.uint8"
    train = image_store.mapped(batches, str(folder), job.threads, target)
    test = _held_out(test_folder, job.threads)
    if train.shape[1:] != test.shape[1:]:
        raise UserError(f"{folder} has images {train.shape[1:]} (bands, height, width), {test_folder} {test.shape[1:]}")
    watched = _held_out(Path(job.input["validation"]), job.threads) if "validation" in job.input else None
    job.log.info(
        "%d training and %d test images of shape %s (bands, height, width)", len(train), len(test), test.shape[1:]
    )
    if len(train) < training.batch_size:
        raise UserError(f"{folder} has {len(train)} images, fewer than training.batch_size, {training.batch_size}.")
    streams = job.params.streams
    shape = Shape.of(train.shape[2], COLORS[train.shape[1]], job.params.model)
    started = job.input.get("start")
    model = build(shape, stream(streams, "weights")) if started is None else load_checkpoint(Path(started))[0]
    share_statistics(model, group)
    job.log.info("%s parameters", f"{sum(parameter.numel() for parameter in model.parameters()):,}")
    task = ImageTask(train, test, training, shape.latent, streams, device, group, watched, training_set.weights(folder))
    if task.rows // task.batches_per_epoch < group.size:
        raise UserError(
            f"training.batch_size: {training.batch_size} is less than one image for each of {group.size} processes."
        )
    note(job, device, compute_dtype(training.precision, device))
    keep_freed_memory()  # every step allocates the same blocks

    def save(weights: dict[str, Tensor], folder: Path) -> None:
        save_checkpoint(shape, training.kl_weight, weights, folder)

    train_and_save(job, model, task, OptimizerConfig.of(training), device, save, group)
