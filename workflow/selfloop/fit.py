"""The training loop, once for every torch domain: mixed precision, AdamW, clipping, warm-up and cosine, resume.

Small models are bound by per-operation overhead, so parameters, gradients and optimizer state are each one flat tensor:
clipping, the optimizer and the cast to bfloat16 are a handful of operations, whatever the number of layers.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from selfloop.devices import choose_precision
from selfloop.errors import UserError
from selfloop.saved_state import SavedState, Terminated, raise_on_sigterm

log = logging.getLogger(__name__)


class Task(Protocol):
    """What a domain gives the loop. `batch` is a pure function of the step, so that resuming needs no replay."""

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
        """Measurements on held-out data, for the learning curve."""


@dataclass(frozen=True)
class Schedule:
    """AdamW's settings and the learning rate over the run; the names are those of the config's `training` section."""

    learning_rate: float
    final_learning_rate: float
    warmup_steps: int
    weight_decay: float
    beta1: float
    beta2: float
    clip: float
    evaluations: int
    precision: str

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> "Schedule":
        """The schedule that a config's `training` section describes."""
        return cls(**{name: training[name] for name in cls.__dataclass_fields__})

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step: linear warm-up (at most a tenth of the run), then half a cosine."""
        warmup = min(self.warmup_steps, max(1, steps // 10))
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(1, steps - warmup)
        low = self.learning_rate * self.final_learning_rate
        return low + (self.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass
class Fit:
    """Result of a training: float32 weights by parameter name, and the learning curve, one mapping per point."""

    weights: dict[str, Tensor]
    curve: list[dict[str, Any]] = field(default_factory=list)


class FlatWeights:
    """All parameters of a model in one float32 tensor, with a copy in the compute format that the model runs on.

    Matrices come first, since weight decay applies to them alone.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        named = sorted(model.named_parameters(), key=lambda item: item[1].dim() < 2)
        self.names = [name for name, _ in named]
        self.sizes = [parameter.shape for _, parameter in named]
        self.master = torch.cat([parameter.detach().float().flatten() for _, parameter in named])
        self.matrices = sum(parameter.numel() for _, parameter in named if parameter.dim() >= 2)
        self.compute = self.master if dtype == torch.float32 else self.master.to(dtype)
        self.gradient = torch.zeros_like(self.compute)
        for (_, parameter), weights, gradient in zip(
            named, self._views(self.compute), self._views(self.gradient), strict=True
        ):
            parameter.data = weights
            parameter.grad = gradient

    def _views(self, flat: Tensor) -> list[Tensor]:
        pieces = torch.split(flat, [size.numel() for size in self.sizes])
        return [piece.view(size) for piece, size in zip(pieces, self.sizes, strict=True)]

    def refresh(self) -> None:
        """Bring the compute copy up to date."""
        if self.compute is not self.master:
            self.compute.copy_(self.master)

    def by_name(self) -> dict[str, Tensor]:
        """Float32 weights by parameter name, on the CPU."""
        return {
            name: view.detach().cpu().clone() for name, view in zip(self.names, self._views(self.master), strict=True)
        }


class Optimizer:
    """AdamW (Loshchilov & Hutter 2019) on flat weights, with clipping of the gradient's norm.

    It calls torch's fused kernel itself: the class `torch.optim.AdamW` takes a second to import.
    """

    def __init__(self, weights: FlatWeights, schedule: Schedule) -> None:
        self.weights = weights
        self.schedule = schedule
        self.first_moment = torch.zeros_like(weights.master)
        self.second_moment = torch.zeros_like(weights.master)
        # One count per part of the weights: matrices, which decay, and the rest, which does not.
        self.counts = [torch.zeros((), device=weights.master.device) for _ in range(2)]

    def step(self, rate: float) -> None:
        """Clip, update, and clear the gradient."""
        gradient = self.weights.gradient.float()
        norm = torch.linalg.vector_norm(gradient)
        gradient *= (self.schedule.clip / (norm + 1e-6)).clamp(max=1.0)
        parts = [self.weights.matrices, len(gradient) - self.weights.matrices]
        tensors = (self.weights.master, gradient, self.first_moment, self.second_moment)
        pieces = zip(*(torch.split(tensor, parts) for tensor in tensors), strict=True)
        decays = (self.schedule.weight_decay, 0.0)
        for (weights, gradients, first, second), count, decay in zip(pieces, self.counts, decays, strict=True):
            count += 1
            torch._fused_adamw_(
                [weights],
                [gradients],
                [first],
                [second],
                [],
                [count],
                lr=rate,
                beta1=self.schedule.beta1,
                beta2=self.schedule.beta2,
                weight_decay=decay,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )
        self.weights.gradient.zero_()
        self.weights.refresh()

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the next step depends on."""
        named = {"master": self.weights.master, "first_moment": self.first_moment, "second_moment": self.second_moment}
        return named | {f"count.{place}": count for place, count in enumerate(self.counts)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `tensors()` gave."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.weights.refresh()


def fit(
    model: nn.Module,
    task: Task,
    schedule: Schedule,
    state: SavedState,
    device: torch.device,
    progress: Callable[..., Any] = tqdm,
) -> Fit:
    """Train `model` on `task`.

    The run saves its state now and then, and goes on from a state that it finds; the weights are then bit-identical to
    those of a run that was never stopped.

    Raises:
        UserError: the loss became NaN or infinite.
        Terminated: SIGTERM arrived; the state is saved.
    """
    weights = FlatWeights(model.to(device), choose_precision(schedule.precision, device))
    optimizer = Optimizer(weights, schedule)
    curve: list[dict[str, Any]] = []
    losses = torch.zeros((), dtype=torch.float64, device=device)
    start, saved = 0, state.load()
    if saved is not None:
        optimizer.load(saved.tensors)
        start, curve = saved.values["step"], saved.values["curve"]
        losses.copy_(saved.tensors["losses"])
        log.info("goes on from the saved state at step %d of %d", start, task.steps)

    def save(step: int) -> None:
        state.save({**optimizer.tensors(), "losses": losses}, {"step": step, "curve": curve})

    points = {math.ceil(task.steps * (point + 1) / schedule.evaluations) for point in range(schedule.evaluations)}
    last_point = max((point["step"] for point in curve), default=0)
    units, began = 0, time.monotonic()
    bar = progress(total=task.steps, initial=start, unit="step", desc="train", mininterval=5.0, ascii=True)
    with raise_on_sigterm() as terminated, bar:
        for step in range(start, task.steps):
            batch = task.batch(step)
            loss = task.loss(model, batch)
            torch.autograd.backward(loss)
            losses += loss.detach()
            optimizer.step(schedule.rate(step, task.steps))
            units += task.size(batch)
            done = step + 1
            if done in points:
                mean = losses.item() / (done - last_point)
                if not math.isfinite(mean):
                    raise UserError(f"the training loss became {mean} before step {done}; try a lower learning_rate.")
                measured = task.evaluate(model)
                for metric, value in measured.items():
                    if not math.isfinite(value):
                        raise UserError(f"{metric} became {value} before step {done}; try a lower learning_rate.")
                curve.append({"step": done, "epoch": done / task.steps_per_epoch, "loss": mean, **measured})
                losses.zero_()
                last_point = done
            bar.update(1)
            if step % 10 == 0:
                rate = units / (time.monotonic() - began)
                bar.set_postfix_str(f"{rate:,.0f} {task.unit}/s", refresh=False)
            if terminated():
                save(done)
                raise Terminated(f"stopped by SIGTERM at step {done} of {task.steps}; the state is saved")
            if state.is_due() and done < task.steps:
                save(done)
    seconds = max(time.monotonic() - began, 1e-9)
    speed = f"{units:,} {task.unit} in {seconds:.1f} s ({units / seconds:,.0f} {task.unit}/s)"
    log.info("trained %d steps, %s", task.steps - start, speed)
    return Fit(weights.by_name(), curve)
