"""The learning rate over a training, and the optimizer's settings, as a config's `training` section names them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# A value counts as an improvement if it is lower than the best before it by this share, as in torch.
IMPROVEMENT = 1e-4


def steps_of(epochs: float, batches_per_epoch: int) -> int:
    """Optimizer steps of so many epochs, rounded up; 1.1 epochs of 50 batches are 55, though 1.1 * 50 is a bit more."""
    return math.ceil(round(epochs * batches_per_epoch, 6))


@dataclass(frozen=True)
class Schedule:
    """AdamW's settings and the learning rate over the run; a domain's schema need not offer those with a default.

    Attributes:
        schedule: "cosine" (half a cosine down to `final_learning_rate`), "constant", "exponential" (times `decay` after
            each epoch) or "plateau" (times `decay` when the watched value has not improved for `patience` points of
            the learning curve).
        final_learning_rate: where the cosine ends, as a share of `learning_rate`.
        warmup_steps: steps of linear warm-up, at most a tenth of the run.
    """

    learning_rate: float
    weight_decay: float
    beta1: float
    beta2: float
    clip: float
    evaluations: int
    precision: str
    warmup_steps: int = 0
    schedule: str = "cosine"
    final_learning_rate: float = 0.1
    decay: float = 1.0
    patience: int = 10

    @classmethod
    def of(cls, training: Mapping[str, Any]) -> "Schedule":
        """The schedule that a config's `training` section describes."""
        return cls(**{name: training[name] for name in cls.__dataclass_fields__ if name in training})

    def rate(self, step: int, steps: int, steps_per_epoch: float = 1.0, watched: Sequence[float] = ()) -> float:
        """Learning rate of a step.

        Args:
            step: counted from 0, of `steps`.
            steps_per_epoch: for the exponential schedule.
            watched: the value that a plateau is looked for in, at each point of the learning curve so far.
        """
        warmup = min(self.warmup_steps, max(1, steps // 10))
        if step < warmup:
            return self.learning_rate * (step + 1) / (warmup + 1)
        if self.schedule == "cosine":
            progress = (step - warmup) / max(1, steps - warmup)
            low = self.learning_rate * self.final_learning_rate
            return low + (self.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * progress))
        if self.schedule == "exponential":
            return self.learning_rate * self.decay ** int(step / steps_per_epoch)
        if self.schedule == "plateau":
            return self.learning_rate * self.decay ** plateaus(watched, self.patience)
        return self.learning_rate


def plateaus(watched: Sequence[float], patience: int) -> int:
    """How often more than `patience` values in a row brought no improvement; counting starts anew after each time."""
    best, waited, count = math.inf, 0, 0
    for value in watched:
        if value < best * (1 - IMPROVEMENT):
            best, waited = value, 0
        else:
            waited += 1
        if waited > patience:
            count, waited = count + 1, 0
    return count
