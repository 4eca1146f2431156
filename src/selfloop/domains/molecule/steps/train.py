"""Rule train: fit GeoDiff to the conformations of a training set, for a fixed number of steps."""

import math
from collections.abc import Hashable
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from selfloop.data import training_set
from selfloop.data.learning_curve import of_validation
from selfloop.domains.molecule.config import Model, Training
from selfloop.domains.molecule.data import graph
from selfloop.domains.molecule.data.conformations import COLUMNS, Conformations, read_conformations
from selfloop.domains.molecule.data.graph import Batch, build_batch, padded
from selfloop.domains.molecule.model.checkpoint import load_checkpoint, save_checkpoint
from selfloop.domains.molecule.model.evaluation import LEARNING_CURVE_DRAWS
from selfloop.domains.molecule.model.loss import evaluation_rows, held_out_losses, losses
from selfloop.domains.molecule.model.network import GeoDiff, build
from selfloop.domains.molecule.model.noise_schedule import antithetic_times, sigmas
from selfloop.errors import UserError
from selfloop.identity import stream
from selfloop.jobs.job import Job
from selfloop.training.devices import compute_dtype, note, prepare_torch
from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup, process_group
from selfloop.training.loop import TrainParams, micro_batches, train_and_save
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.transfer import to_device


class Params(TrainParams):
    """What the step takes of its params."""

    model: Model
    training: Training


class NoisyBatch(NamedTuple):
    """A share of a training batch, on a GPU padded: see `Batch`.

    Attributes:
        molecules, positions, levels, noise: molecules, true positions [atoms, 3], noise levels [molecules], noise
            [atoms, 3].
        atoms: those of the whole batch, float32 scalar; infinite in a share that stands for none of it.
        conformations: of the share.
        weights: where conformations have weights in the loss, those of their atoms [atoms].
    """

    molecules: Batch
    positions: Tensor
    levels: Tensor
    noise: Tensor
    atoms: Tensor
    conformations: int
    weights: Tensor | None = None


class ConformationTask:
    """Conformations in a fresh permutation per epoch; noise is a function of the seed and the step."""

    unit = "conformations"

    def __init__(
        self,
        train: Conformations,
        test: Conformations,
        levels: npt.NDArray[np.float64],
        steps: int,
        batch_size: int,
        seed: int,
        device: torch.device,
        validation: Conformations | None = None,
        weights: npt.NDArray[np.float64] | None = None,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.train, self.test, self.validation, self.device = train, test, validation, device
        self.weights = weights  # of the training conformations; None for 1
        self.group = group
        self.levels, self.steps, self.batch_size, self.seed = levels, steps, batch_size, seed
        self.batches_per_epoch = math.ceil(len(train) / batch_size)
        self.steps_per_epoch = float(self.batches_per_epoch)
        self._order = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.train))

    def rows(self, step: int) -> npt.NDArray[np.int64]:
        """Row indices of a step."""
        begin = step % self.batches_per_epoch * self.batch_size
        return self._order(step // self.batches_per_epoch)[begin : begin + self.batch_size]

    def share(self, group: ProcessGroup) -> "ConformationTask":
        """The same task as another rank, or one of more ranks, has it."""
        other = copy(self)
        other.group = group
        return other

    def batch(self, step: int) -> NoisyBatch:
        """This rank's molecules of a step, and their noise, which does not depend on the ranks."""
        every = self.rows(step)
        data, bounds = self.train, self.train.bounds
        sizes = bounds[every + 1] - bounds[every]
        generator = np.random.default_rng([self.seed, step, 1])
        levels = self.levels[antithetic_times(len(every), len(self.levels), generator)].astype(np.float32)
        noise = np.split(generator.standard_normal((sizes.sum(), 3), dtype=np.float32), np.cumsum(sizes)[:-1])
        own = np.arange(self.group.rank, len(every), self.group.size)
        conformations, counted = len(own), float(sizes.sum()) if len(own) else math.inf
        own = own if len(own) else np.zeros(1, dtype=np.int64)  # fewer molecules than ranks
        rows = every[own]
        atoms = np.concatenate([np.arange(bounds[row], bounds[row + 1]) for row in rows])
        pads = graph.has_few_shapes(self.device)
        batch = build_batch([data.graph(row) for row in rows], data.atomic_numbers[atoms], self.device, pads)

        def of_atoms(values: npt.NDArray[np.float32]) -> Tensor:
            return to_device(np.ascontiguousarray(padded(values.T, len(batch.molecule)).T), self.device)

        weights = None if self.weights is None else np.repeat(self.weights[rows], np.diff(bounds)[rows])
        return NoisyBatch(
            batch,
            of_atoms(data.coordinates[atoms]),
            to_device(levels[own], self.device),
            of_atoms(np.concatenate([noise[index] for index in own])),
            to_device(np.array(counted, dtype=np.float32), self.device),
            conformations,
            None if weights is None else of_atoms(weights.astype(np.float32)),
        )

    def loss(self, model: nn.Module, batch: NoisyBatch) -> Tensor:
        """The mean over the batch's atoms, as in the original; of a share, its part of the sum."""
        assert isinstance(model, GeoDiff)
        terms = losses(model, batch.molecules, batch.positions, batch.levels, batch.noise, batch.weights)
        return (terms.remote + terms.local) / batch.atoms

    def graph_key(self, model: nn.Module, batch: NoisyBatch) -> Hashable | None:
        """The sizes of its graph."""
        return (*(part.shape for part in batch.molecules[:-1]), batch.molecules.molecules, batch.weights is None)

    def size(self, batch: NoisyBatch) -> int:
        """Conformations of a share."""
        return batch.conformations

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Losses on the test split and, for the schedule plateau, the validation split; the total first."""
        assert isinstance(model, GeoDiff)
        metrics = self._held_out(model, self.test)
        return metrics if self.validation is None else metrics | of_validation(self._held_out(model, self.validation))

    def _held_out(self, model: GeoDiff, split: Conformations) -> dict[str, float]:
        rows = evaluation_rows(split)
        return held_out_losses(model, self.levels, split, rows, self.device, LEARNING_CURVE_DRAWS)


def run(job: Job[Params]) -> None:
    """Train from `job.input.training_set`; write a checkpoint and a learning curve."""
    device = prepare_torch(job.threads, job.gpus)
    with process_group(device) as group:
        train_model(job, device, group)


def train_model(job: Job[Params], device: torch.device, group: ProcessGroup) -> None:
    """Train as one rank of a process group."""
    config, training = job.params.model, job.params.training
    folder = Path(job.input["training_set"])
    train = Conformations.of(training_set.rows(folder, COLUMNS), str(folder))
    test = read_conformations(Path(job.input["test"]))
    watched = read_conformations(Path(job.input["validation"])) if "validation" in job.input else None
    job.log.info(
        "training set: %d conformations of %d molecules, %s atoms",
        len(train), len(train.bonds), f"{len(train.atomic_numbers):,}",
    )  # fmt: skip
    if len(train) < training.batch_size:
        raise UserError(
            f"{folder} has {len(train)} conformations, fewer than training.batch_size, {training.batch_size}."
        )
    note(job, device, compute_dtype(OptimizerConfig.of(training).precision, device))
    streams = job.params.streams
    started = job.input.get("start")
    model = build(config, stream(streams, "weights")) if started is None else load_checkpoint(Path(started))[0]
    seed, weights, levels = stream(streams, "batches"), training_set.weights(folder), sigmas(config)
    task = ConformationTask(
        train, test, levels, training.steps, training.batch_size, seed, device, watched, weights, group
    )
    pieces = [task.share(share) for share in micro_batches(group, training.batch_size, job.micro_batch)]

    def save(weights: dict[str, Tensor], folder: Path) -> None:
        save_checkpoint(weights, config, folder)

    train_and_save(job, model, task, OptimizerConfig.of(training), device, save, group, pieces=pieces)
