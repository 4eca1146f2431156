"""The training loop of all torch domains: mixed precision, learning curve, resuming, data parallelism."""

import logging
import math
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from selfloop.data.atomic import atomic_folder
from selfloop.data.learning_curve import VALIDATION, CurvePoint, write_curve
from selfloop.errors import UserError
from selfloop.jobs.job import Did, Job, StepParams
from selfloop.processes.stopping import Stopped, held_back, let_through
from selfloop.training.devices import compute_dtype
from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup
from selfloop.training.graphs import Graphs, recorder
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.optimizer import FlatWeights, Optimizer
from selfloop.training.resume import ResumeCheckpoint
from selfloop.training.transfer import Ahead

log = logging.getLogger(__name__)
Batch = TypeVar("Batch")


class Task(Protocol[Batch]):
    """A domain's data and loss. `batch` is a pure function of the step, so resuming replays nothing.

    On a GPU, `batch` runs in a thread of its own, and neither it nor `loss` nor `size` waits for the device.

    Under data parallelism each rank has a task that returns its shard of every batch; the losses of the shards add up
    to the loss of the batch.
    """

    steps: int
    steps_per_epoch: float
    unit: str  # of `size`, such as "tokens"

    def batch(self, step: int) -> Batch:
        """The batch of a step, from 0."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The scalar to minimise."""

    def graph_key(self, model: nn.Module, batch: Batch) -> Hashable | None:
        """What decides which operations `loss` consists of, and all numbers in them that are not in tensors of the
        batch or the model: steps with equal keys are one CUDA graph, also of tasks that are pieces of one step.

        None where values of these tensors decide, or where ranks exchange something meanwhile: no graph.
        """

    def size(self, batch: Batch) -> int:
        """Units in the batch, for the progress bar."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Metrics of the test split for the learning curve, and those that the plateau schedule watches: of the
        validation split, with names that begin with `VALIDATION`.
        """


@dataclass
class Fit:
    """Result of a training.

    Attributes:
        weights: parameters in float32 and persistent buffers, by name, on the CPU.
        curve: points of the learning curve: step, epoch, loss, and the task's metrics.
    """

    weights: dict[str, Tensor]
    curve: list[CurvePoint] = field(default_factory=list)


def fit(
    model: nn.Module,
    task: Task[Batch],
    config: OptimizerConfig,
    resume: ResumeCheckpoint,
    device: torch.device,
    progress: Callable[..., Any] = tqdm,
    group: ProcessGroup = SINGLE_PROCESS,
    did: Did = lambda *_, **__: None,
    pieces: Sequence[Task[Batch]] = (),
) -> Fit:
    """Train `model` on `task`.

    Args:
        pieces: tasks whose losses of a step add up to that of `task`, each computed by itself: the memory that a step
            takes is that of one of them. None for `task` itself.

    Resumes from `resume` if it holds a checkpoint; the weights are bit-identical to those of an uninterrupted run.

    Raises:
        UserError: the loss, a metric or a weight became NaN or infinite.
        Stopped: a stop signal arrived; the resume checkpoint is saved.
    """
    weights = FlatWeights(model.to(device), compute_dtype(config.precision, device))
    optimizer = Optimizer(weights, config, group)
    buffers = persistent_buffers(model)
    graphs = Graphs(weights, buffers.values(), record) if (record := recorder(device)) is not None else None
    pieces = pieces or (task,)
    curve: list[CurvePoint] = []
    losses = torch.zeros((), dtype=torch.float64, device=device)
    start, saved = 0, resume.load()
    if saved is not None:
        optimizer.load(saved.tensors)
        for name, buffer in buffers.items():
            buffer.copy_(saved.tensors[f"buffer.{name}"])
        start, curve = saved.step, saved.curve
        losses.copy_(saved.tensors["losses"])
        log.info("resuming from step %d of %d", start, task.steps)
    last_point = max((point["step"] for point in curve), default=0)
    monitored = [_monitored(point) for point in curve]

    def backward(piece: Task[Batch], batch: Batch, add: bool) -> Tensor:
        """Write the gradient of the loss, or add it to what is there; returns the loss."""
        key = None if graphs is None else piece.graph_key(model, batch)
        if graphs is not None and key is not None:
            return graphs.backward(key, partial(piece.loss, model), batch, add)
        loss = piece.loss(model, batch)
        weights.backward(loss, add)
        return loss.detach()

    def mean_loss(done: int) -> float:
        """Mean loss since the last point of the curve."""
        mean = float(losses.item()) / (done - last_point)
        if not math.isfinite(mean):
            raise UserError(f"the training loss became {mean} before step {done}; try a lower learning_rate.")
        return mean

    def save(done: int) -> None:
        if group.is_main:
            named = {f"buffer.{name}": buffer for name, buffer in buffers.items()}
            resume.save({**optimizer.tensors(), **named, "losses": losses}, done, curve)

    def stopped(done: int) -> Stopped:
        return Stopped(f"stopped at step {done} of {task.steps}; the state is saved")

    def evaluate(done: int) -> None:
        """Add a point to the curve; a stop signal does not wait for it."""
        nonlocal last_point
        mean = mean_loss(done)
        try:
            with let_through():
                metrics = _evaluate(model, task, done)
        except Stopped:
            save(done)
            raise stopped(done) from None
        curve.append({"step": done, "epoch": done / task.steps_per_epoch, "loss": mean, **metrics})
        monitored.append(_monitored(curve[-1]))
        losses.zero_()
        last_point = done

    points = {math.ceil(task.steps * (point + 1) / config.evaluations) for point in range(config.evaluations)}
    units, began = 0, time.monotonic()
    votes = torch.zeros_like(losses)  # how many ranks want to stop
    bar = progress(total=task.steps, initial=start, unit="step", desc="train", mininterval=5.0, ascii=True)
    with held_back() as arrived, Ahead(partial(_batches, pieces), task.steps, device) as batches, bar:
        model.train()
        if start in points and start > last_point:  # stopped while it was evaluated
            evaluate(start)
        for step in range(start, task.steps):
            with let_through() if step == start else nullcontext():  # torch.compile may take minutes
                batch_loss = None
                for piece, batch in zip(pieces, batches(step), strict=True):
                    loss = backward(piece, batch, add=batch_loss is not None)
                    batch_loss = loss.double() + (0 if batch_loss is None else batch_loss)
                    units += piece.size(batch)
                assert batch_loss is not None
                stop = False
                if group.size > 1:
                    stop = bool(votes)  # of the step before, so that no GPU waits
                    both = torch.stack([batch_loss, torch.full_like(batch_loss, arrived())])
                    group.all_reduce(both)
                    batch_loss, votes = both
                losses += batch_loss
                optimizer.step(config.learning_rate_at(step, task.steps, task.steps_per_epoch, monitored))
                _average(buffers.values(), group)
            done = step + 1
            bar.update(1)
            if step % 10 == 0:
                rate = units * group.size / (time.monotonic() - began)
                bar.set_postfix_str(f"{rate:,.0f} {task.unit}/s", refresh=False)
            if stop or (group.size == 1 and arrived()):
                save(done)
                group.barrier()  # nobody ends while rank 0 saves
                raise stopped(done)
            if done in points:
                evaluate(done)
            if resume.is_due() and done < task.steps:
                save(done)
    seconds = max(time.monotonic() - began, 1e-9)
    units *= group.size
    speed = f"{units:,} {task.unit} in {seconds:.1f} s ({units / seconds:,.0f} {task.unit}/s)"
    captured = f", by {len(graphs)} CUDA graphs" if graphs else ""
    log.info("trained %d steps, %s%s", task.steps - start, speed, captured)
    did(units, task.unit, seconds)
    model.eval()
    trained = {**weights.by_name(), **{name: buffer.cpu().clone() for name, buffer in buffers.items()}}
    for name, tensor in trained.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{name} is not finite after step {task.steps}; try a lower learning_rate.")
    return Fit(trained, curve)


class TrainParams(StepParams):
    """What every training takes of its params: the folder of its resume checkpoint, and its random streams."""

    state: str
    streams: str


def train_and_save(
    job: Job[TrainParams],
    model: nn.Module,
    task: Task[Batch],
    config: OptimizerConfig,
    device: torch.device,
    save_checkpoint: Callable[[dict[str, Tensor], Path], None],
    group: ProcessGroup = SINGLE_PROCESS,
    rounding: str = "",
    pieces: Sequence[Task[Batch]] = (),
) -> None:
    """Train, then write `job.output`'s checkpoint and learning curve on rank 0.

    Args:
        save_checkpoint: writes the weights of `Fit` to an existing folder.
        rounding: what of this machine decides how results are rounded, and is not in the job's params; another one's
            resume checkpoint is not taken.
        pieces: as of `fit`.

    Raises:
        UserError, Stopped: as `fit`.
    """
    resume = ResumeCheckpoint(Path(job.params.state), job.fingerprint() + rounding, job.every_seconds)
    with held_back():  # what is trained is written
        result = fit(model, task, config, resume, device, job.progress, group, job.did, pieces)
        if not group.is_main:
            return
        with atomic_folder(Path(job.output["checkpoint"])) as scratch:
            save_checkpoint(result.weights, scratch)
        write_curve(result.curve, Path(job.output["learning_curve"]))  # last: it marks the training as finished
        resume.remove_scratch()


def micro_batches(group: ProcessGroup, batch_size: int, micro_batch: int | None) -> list[ProcessGroup]:
    """The shares of a batch that this rank computes one after the other: those of as many ranks as are needed.

    Args:
        group: the ranks.
        batch_size: rows per optimizer step, over all ranks.
        micro_batch: rows computed at once; None for all of this rank's.
    """
    rows = -(-batch_size // group.size)
    count = -(-rows // micro_batch) if micro_batch else 1
    return [ProcessGroup(group.rank * count + index, group.size * count) for index in range(count)]


def _batches(pieces: Sequence[Task[Batch]], step: int) -> list[Batch]:
    return [piece.batch(step) for piece in pieces]


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers in the state dict, such as BatchNorm's statistics, by name; not copies."""
    persistent = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in persistent}


def _average(buffers: Iterable[Tensor], group: ProcessGroup) -> None:
    """Average floating-point buffers over the ranks, each of which has seen its shard of the batch.

    After every step, so that the resume checkpoint of rank 0 is that of all.
    """
    floating = [buffer for buffer in buffers if buffer.is_floating_point()]
    if group.size == 1 or not floating:
        return
    flat = torch.cat([buffer.flatten() for buffer in floating])
    group.all_reduce(flat)
    flat /= group.size
    for buffer, mean in zip(floating, torch.split(flat, [buffer.numel() for buffer in floating]), strict=True):
        buffer.copy_(mean.view_as(buffer))


def _evaluate(model: nn.Module, task: Task[Batch], done: int) -> dict[str, float]:
    model.eval()
    metrics = task.evaluate(model)
    model.train()
    for metric, value in metrics.items():
        if not math.isfinite(value):
            raise UserError(f"{metric} became {value} before step {done}; try a lower learning_rate.")
    return metrics


def _monitored(point: CurvePoint) -> float:
    """What the plateau schedule monitors: the first metric of the validation split, else the training loss."""
    return float(next((value for name, value in point.items() if name.startswith(VALIDATION)), point["loss"]))
