"""Measures of the logistic domain's profile: the labels that a model gives to held-out real inputs.

All data sets have the same inputs, so samples differ from real rows in their labels alone. They are measured by the
probabilities that they are drawn with, on the test rows, beside those of model 1, which is fitted to real labels.
"""

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from selfloop.domains.logistic.rows import Array, probabilities

RARE = 0.05  # a label of a lower probability is not met


class Mirror:
    """Held-out real rows.

    Args:
        X: inputs (rows, d).
        y: labels (rows,).
        first: parameters (d + 1,) of model 1.
    """

    def __init__(self, X: Array, y: Array, first: Array) -> None:
        self.X, self.y, self.first = X, y, first
        inputs = np.column_stack([X, np.ones(len(X))])
        values, vectors = np.linalg.eigh(inputs.T @ inputs / len(inputs))
        varied = values > 1e-9 * values[-1]
        self.inputs = inputs @ (vectors[:, varied] / np.sqrt(values[varied]))  # of unit second moment

    @cached_property
    def itself(self) -> dict[str, float]:
        """The measures of the real labels: their entropy is at most their log-loss under model 1."""
        chances = probabilities(self.X, self.first)
        log_loss = float(-np.log(self._given(chances)).mean())
        return {**self._of(chances), "entropy": log_loss, "positive": float(self.y.mean())}

    def of(self, w: Array) -> dict[str, float]:
        """Of the labels that parameters (d + 1,) give.

        Returns:
            entropy: mean over inputs, nats per label; recall: share of the real labels that have a probability of at
            least `RARE`; agreement: the probability of real labels; positive: of the label 1.
        """
        return self._of(probabilities(self.X, w))

    def _of(self, chances: Array) -> dict[str, float]:
        given = self._given(chances)
        sides = np.stack([chances, 1 - chances])
        logs = np.log(np.where(sides > 0, sides, 1.0))
        return {
            "entropy": float(-(sides * logs).sum(axis=0).mean()),
            "recall": float((given >= RARE).mean()),
            "agreement": float(given.mean()),
            "positive": float(chances.mean()),
        }

    def _given(self, chances: Array) -> Array:
        return np.where(self.y == 1, chances, 1 - chances)

    def carried(self, before: Array, after: Array) -> Mapping[str, float]:
        """How much of the error of one iteration's parameters (d + 1,) the next one's have.

        The error is the gradient of the test log-loss, that is the difference of the moments Σ x·y of given and real
        labels, in units in which inputs have unit second moment. The noise of real labels, which both errors have,
        would draw κ towards 1; another half of the rows is taken in each.

        Returns:
            kappa; kappa_weight: the square of the earlier error; kappa_cosine: of both. NaN where no error exceeds the
            noise of real labels.
        """
        old, new = (self._errors(w) for w in (before, after))
        across = float(new[0] @ old[1] + new[1] @ old[0]) / 2
        earlier, later = (float(halves[0] @ halves[1]) for halves in (old, new))
        return {
            "kappa": across / earlier if earlier > 0 else float("nan"),
            "kappa_weight": max(earlier, 0.0),
            "kappa_cosine": across / (earlier * later) ** 0.5 if min(earlier, later) > 0 else float("nan"),
        }

    def _errors(self, w: Array) -> tuple[Array, Array]:
        off = (probabilities(self.X, w) - self.y)[:, None] * self.inputs
        return off[0::2].mean(axis=0), off[1::2].mean(axis=0)
