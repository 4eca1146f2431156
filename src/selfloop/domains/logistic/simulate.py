"""Logistic regression at scale: all seeds of a block at once, by Newton's method on the mean label of each input.

Every data set has the same inputs, so that a training set is, per input, a share of labels 1: as many rows as the real
ones, however many parts it takes. The fit is the minimum, to which L-BFGS with a small tolerance comes (`model.fit`).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from selfloop.domains.logistic.model import measured
from selfloop.domains.logistic.rows import Array, probabilities
from selfloop.simulation.stacked import Integers

STEPS, HALVINGS = 40, 8
SMALL, TINY = 1e-10, 1e-12
STEEPEST = 30.0  # of scores: parameters of separable labels have no end, and L-BFGS leaves them near there


class Labels:
    """Chains of `seeds` seeds: a data set is labels (seeds, T) for the inputs, a model parameters (seeds, d + 1)."""

    def __init__(self, seeds: int, real: tuple[Array, Array], test: tuple[Array, Array]) -> None:
        self.seeds, self.test = seeds, test
        self.X, self.y = real
        self.inputs = np.column_stack([self.X, np.ones(len(self.X))])

    def real(self, generator: np.random.Generator) -> Array:
        return np.tile(self.y, (self.seeds, 1))

    def fresh(self, generator: np.random.Generator, rows: int) -> Array:
        raise NotImplementedError("fresh rows have inputs of their own")

    def sample(self, model: Array, generator: np.random.Generator) -> Array:
        chances = probabilities(self.X, model).T
        return (generator.random(chances.shape) < chances).astype(np.float64)

    def pick(self, data: Array, numbers: Integers, generator: np.random.Generator) -> Array:
        raise NotImplementedError("whole parts are taken")

    def merge(self, data: Sequence[Array]) -> Array:
        raise NotImplementedError("whole parts are taken")

    def fit(self, taken: Sequence[tuple[Array, Array]]) -> Array:
        """Newton's method with halved steps, from 0, of the seeds that still move."""
        target = np.sum([data * share[:, None] for data, share in taken], axis=0)
        w = np.zeros((self.seeds, self.inputs.shape[1]))
        loss = self._loss(w, target)
        moving = np.arange(self.seeds)
        ridge = TINY * np.abs(self.inputs).max() ** 2 * np.eye(w.shape[1])
        for _ in range(STEPS):
            p = probabilities(self.X, w[moving]).T
            gradient = (p - target[moving]) @ self.inputs / len(self.X)
            far = np.abs(gradient).max(axis=1) > SMALL
            moving, p, gradient = moving[far], p[far], gradient[far]
            if not len(moving):
                break
            weighted = self.inputs * (p * (1 - p) / len(self.X))[..., None]
            step = np.linalg.solve(weighted.swapaxes(1, 2) @ self.inputs + ridge, gradient[..., None])[..., 0]
            worse = np.ones(len(moving), dtype=bool)
            moved, after = w[moving], loss[moving].copy()
            for halved in range(HALVINGS):
                tried = w[moving[worse]] - step[worse] / 2**halved
                lower = self._loss(tried, target[moving[worse]])
                good = (lower <= loss[moving[worse]]) & (np.abs(tried @ self.inputs.T).max(axis=1) <= STEEPEST)
                at = np.flatnonzero(worse)[good]
                moved[at], after[at], worse[at] = tried[good], lower[good], False
                if not worse.any():
                    break
            w[moving], loss[moving] = moved, after
            moving = moving[~worse]
        return w

    def _loss(self, w: Array, target: Array) -> Array:
        scores = w @ self.inputs.T
        return np.asarray((np.logaddexp(0, scores) - target * scores).mean(axis=1))

    def measure(self, model: Array) -> Mapping[str, Array]:
        """As `model.measured`."""
        return measured(model, *self.test)
