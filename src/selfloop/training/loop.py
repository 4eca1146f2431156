"""The training loop, once for every torch domain: mixed precision, learning curve, resume, several processes."""

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from selfloop.errors import UserError
from selfloop.jobs.job import Did
from selfloop.training.devices import choose_precision
from selfloop.training.distributed import ALONE, Group
from selfloop.training.lr_schedule import Schedule
from selfloop.training.optimizer import FlatWeights, Optimizer
from selfloop.training.state import SavedState, Terminated, raise_on_sigterm

log = logging.getLogger(__name__)


class Task(Protocol):
    """What a domain gives the loop. `batch` is a pure function of the step, so that resuming needs no replay.

    Where several processes train one model, each has a task that gives it its share of every batch, and the losses of
    the shares add up to the loss of the batch.
    """

    steps: int
    steps_per_epoch: float
    unit: str  # what `size` counts, such as "tokens"

    def batch(self, step: int) -> Any:
        """The batch of a step, counted from 0."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The scalar to descend."""

    def size(self, batch: Any) -> int:
        """How many units the batch holds, for the progress bar."""

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Measurements on held-out data, for the learning curve; the first is what a plateau is looked for in."""


@dataclass
class Fit:
    """Result of a training.

    Attributes:
        weights: by name, on the CPU: parameters as float32, and the buffers that a checkpoint holds.
        curve: the learning curve, one mapping per point: step, epoch, loss, and what the task measured.
    """

    weights: dict[str, Tensor]
    curve: list[dict[str, Any]] = field(default_factory=list)


def fit(
    model: nn.Module,
    task: Task,
    schedule: Schedule,
    state: SavedState,
    device: torch.device,
    progress: Callable[..., Any] = tqdm,
    group: Group = ALONE,
    did: Did = lambda *_, **__: None,
) -> Fit:
    """Train `model` on `task`.

    The run saves its state now and then, and goes on from a state that it finds; the weights are then bit-identical to
    those of a run that was never stopped. The model trains in its training mode and is measured in its evaluation mode.

    Raises:
        UserError: the loss or a measurement became NaN or infinite.
        Terminated: SIGTERM arrived; the state is saved.
    """
    weights = FlatWeights(model.to(device), choose_precision(schedule.precision, device))
    optimizer = Optimizer(weights, schedule, group)
    buffers = saved_buffers(model)
    curve: list[dict[str, Any]] = []
    losses = torch.zeros((), dtype=torch.float64, device=device)
    start, saved = 0, state.load()
    if saved is not None:
        optimizer.load(saved.tensors)
        for name, buffer in buffers.items():
            buffer.copy_(saved.tensors[f"buffer.{name}"])
        start, curve = saved.values["step"], saved.values["curve"]
        losses.copy_(saved.tensors["losses"])
        log.info("goes on from the saved state at step %d of %d", start, task.steps)
    last_point = max((point["step"] for point in curve), default=0)
    watched = [_watched(point) for point in curve]

    def mean_loss(done: int) -> float:
        """The mean loss since the last point; a loss that is no number ends the run."""
        mean = float(losses.item()) / (done - last_point)
        if not math.isfinite(mean):
            raise UserError(f"the training loss became {mean} before step {done}; try a lower learning_rate.")
        return mean

    def save(done: int) -> None:
        if group.leads:
            kept = {f"buffer.{name}": buffer for name, buffer in buffers.items()}
            state.save({**optimizer.tensors(), **kept, "losses": losses}, {"step": done, "curve": curve})

    points = {math.ceil(task.steps * (point + 1) / schedule.evaluations) for point in range(schedule.evaluations)}
    units, began = 0, time.monotonic()
    bar = progress(total=task.steps, initial=start, unit="step", desc="train", mininterval=5.0, ascii=True)
    with raise_on_sigterm() as terminated, bar:
        model.train()
        for step in range(start, task.steps):
            batch = task.batch(step)
            loss = task.loss(model, batch)
            torch.autograd.backward(loss)
            of_all = loss.detach().double()
            group.add(of_all)
            losses += of_all
            optimizer.step(schedule.rate(step, task.steps, task.steps_per_epoch, watched))
            _average(buffers.values(), group)
            units += task.size(batch)
            done = step + 1
            if done in points:
                mean = mean_loss(done)
                measured = _measure(model, task, done)
                curve.append({"step": done, "epoch": done / task.steps_per_epoch, "loss": mean, **measured})
                watched.append(_watched(curve[-1]))
                losses.zero_()
                last_point = done
            bar.update(1)
            if step % 10 == 0:
                rate = units * group.size / (time.monotonic() - began)
                bar.set_postfix_str(f"{rate:,.0f} {task.unit}/s", refresh=False)
            if group.leads and terminated():
                save(done)
                raise Terminated(f"stopped by SIGTERM at step {done} of {task.steps}; the state is saved")
            if state.is_due() and done < task.steps:
                save(done)
    seconds = max(time.monotonic() - began, 1e-9)
    units *= group.size
    did(units, task.unit, seconds)
    speed = f"{units:,} {task.unit} in {seconds:.1f} s ({units / seconds:,.0f} {task.unit}/s)"
    log.info("trained %d steps, %s", task.steps - start, speed)
    model.eval()
    return Fit({**weights.by_name(), **{name: buffer.cpu().clone() for name, buffer in buffers.items()}}, curve)


def saved_buffers(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that belong to a checkpoint, such as BatchNorm's statistics, by name; not copies."""
    kept = model.state_dict().keys()
    return {name: buffer for name, buffer in model.named_buffers() if name in kept}


def _average(buffers: Iterable[Tensor], group: Group) -> None:
    """Give all processes the mean of their buffers: each has seen its own share of the batch.

    After every step, so that the state that one of them saves is the state of all.
    """
    kept = [buffer for buffer in buffers if buffer.is_floating_point()]
    if group.size == 1 or not kept:
        return
    together = torch.cat([buffer.flatten() for buffer in kept])
    group.add(together)
    together /= group.size
    for buffer, mean in zip(kept, torch.split(together, [buffer.numel() for buffer in kept]), strict=True):
        buffer.copy_(mean.view_as(buffer))


def _measure(model: nn.Module, task: Task, done: int) -> dict[str, float]:
    model.eval()
    measured = task.evaluate(model)
    model.train()
    for metric, value in measured.items():
        if not math.isfinite(value):
            raise UserError(f"{metric} became {value} before step {done}; try a lower learning_rate.")
    return measured


def _watched(point: dict[str, Any]) -> float:
    """What a plateau is looked for in: the first measurement, or the training loss where there is none."""
    names = [name for name in point if name not in ("step", "epoch", "loss")]
    return float(point[names[0] if names else "loss"])
