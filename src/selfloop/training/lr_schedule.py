"""AdamW's hyperparameters and the learning-rate schedule, named as in a config's `training` section."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

THRESHOLD = 1e-4  # relative decrease that counts as an improvement, as in torch's ReduceLROnPlateau


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW and its learning-rate schedule; a domain need not offer the fields that have a default.

    Attributes:
        schedule: "cosine" (half a cosine down to `final_learning_rate`), "constant", "exponential" (times `decay` after
            each epoch) or "plateau" (times `decay` after `patience` points of the learning curve without improvement).
        final_learning_rate: end of the cosine, as a fraction of `learning_rate`.
        warmup_steps: steps of linear warm-up, at most a tenth of the run.
        clip: maximum norm of the gradient.
        evaluations: points of the learning curve.
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
    def of(cls, training: object) -> "OptimizerConfig":
        """The fields of a config's `training` section."""
        return cls(**{name: getattr(training, name) for name in cls.__dataclass_fields__ if hasattr(training, name)})

    def learning_rate_at(
        self, step: int, steps: int, steps_per_epoch: float = 1.0, monitored: Sequence[float] = ()
    ) -> float:
        """Learning rate of a step.

        Args:
            step: from 0, of `steps`.
            steps_per_epoch: for the exponential schedule.
            monitored: for the plateau schedule, the monitored value at each point of the learning curve so far.
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
            return self.learning_rate * self.decay ** plateaus(monitored, self.patience)
        return self.learning_rate


def plateaus(monitored: Sequence[float], patience: int) -> int:
    """How often more than `patience` values in a row brought no improvement; each time the count starts again."""
    best, bad, count = math.inf, 0, 0
    for value in monitored:
        if value < best * (1 - THRESHOLD):
            best, bad = value, 0
        else:
            bad += 1
        if bad > patience:
            count, bad = count + 1, 0
    return count
