"""Logistic regression at scale: all seeds of a block at once, by Newton's method on the mean label of each input.

Every data set has the same inputs, so that a training set is, per input, its weight and a share of labels 1: as many
rows as the real ones, however many parts it takes. The fit is the minimum, to which L-BFGS with a small tolerance comes
(`model.fit`); that of the real rows, alike in all seeds, is the loop's own.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from selfloop.domains.logistic.model import fit, measured
from selfloop.domains.logistic.rows import Array, probabilities
from selfloop.simulation.stacked import Integers

STEPS, HALVINGS = 40, 8
SMALL, TINY = 1e-10, 1e-12
STEEPEST = 30.0  # of scores: parameters of separable labels have no end, and L-BFGS leaves them near there


class Labels:
    """Chains of `seeds` seeds: a data set is labels (seeds, T) for the inputs, a model parameters (seeds, d + 1)."""

    def __init__(
        self, seeds: int, real: tuple[Array, Array], test: tuple[Array, Array], tolerance: float = 1e-4
    ) -> None:
        self.seeds, self.test, self.tolerance = seeds, test, tolerance
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
        weight = np.full((self.seeds, len(self.X)), 1 / len(self.X))
        return self.minimum(np.sum([data * share[:, None] for data, share in taken], axis=0), weight)

    @cached_property
    def first(self) -> Array:
        """The parameters (d + 1,) of the model of the real rows."""
        return fit(self.X, self.y, None, self.tolerance)

    def minimum(self, target: Array, weight: Array) -> Array:
        """Newton's method with halved steps, from 0, of the seeds that still move; `first` of the real rows.

        Args:
            target: of each input the share of labels 1, (seeds, T).
            weight: of each input in the loss, (seeds, T), with sum 1.
        """
        if (target == self.y).all() and np.allclose(weight, 1 / len(self.X), rtol=1e-9):
            return np.tile(self.first, (self.seeds, 1))
        w = np.zeros((self.seeds, self.inputs.shape[1]))
        loss = self._loss(w, target, weight)
        moving = np.arange(self.seeds)
        ridge = TINY * np.abs(self.inputs).max() ** 2 * np.eye(w.shape[1])
        for _ in range(STEPS):
            p = probabilities(self.X, w[moving]).T
            gradient = ((p - target[moving]) * weight[moving]) @ self.inputs
            far = np.abs(gradient).max(axis=1) > SMALL
            moving, p, gradient = moving[far], p[far], gradient[far]
            if not len(moving):
                break
            weighted = self.inputs * (p * (1 - p) * weight[moving])[..., None]
            step = np.linalg.solve(weighted.swapaxes(1, 2) @ self.inputs + ridge, gradient[..., None])[..., 0]
            worse = np.ones(len(moving), dtype=bool)
            moved, after = w[moving], loss[moving].copy()
            for halved in range(HALVINGS):
                tried = w[moving[worse]] - step[worse] / 2**halved
                lower = self._loss(tried, target[moving[worse]], weight[moving[worse]])
                good = (lower <= loss[moving[worse]]) & (np.abs(tried @ self.inputs.T).max(axis=1) <= STEEPEST)
                at = np.flatnonzero(worse)[good]
                moved[at], after[at], worse[at] = tried[good], lower[good], False
                if not worse.any():
                    break
            w[moving], loss[moving] = moved, after
            moving = moving[~worse]
        return w

    def _loss(self, w: Array, target: Array, weight: Array) -> Array:
        scores = w @ self.inputs.T
        return np.asarray(((np.logaddexp(0, scores) - target * scores) * weight).sum(axis=1))

    def measure(self, model: Array) -> Mapping[str, Array]:
        """As `model.measured`."""
        return measured(model, *self.test)


class LabelsByRows:
    """The same where rows are drawn; a row (2,) is the number of its input and its label."""

    def __init__(
        self, seeds: int, real: tuple[Array, Array], test: tuple[Array, Array], tolerance: float = 1e-4
    ) -> None:
        self.labels = Labels(seeds, real, test, tolerance)
        self.measure = self.labels.measure

    def real(self, generator: np.random.Generator) -> Array:
        y = self.labels.y
        return np.broadcast_to(np.column_stack([np.arange(len(y)), y]), (self.labels.seeds, len(y), 2))

    def fresh(self, generator: np.random.Generator, rows: int) -> Array:
        raise NotImplementedError("fresh rows have inputs of their own")

    def sample(self, model: Array, generator: np.random.Generator, rows: Integers, out: Array) -> None:
        chances = np.take_along_axis(probabilities(self.labels.X, model).T, rows, axis=1)
        np.stack([rows, generator.random(rows.shape) < chances], axis=2, out=out)

    def fit(self, rows: Array, weights: Array | None) -> Array:
        seeds, T = self.labels.seeds, len(self.labels.X)
        each = np.full(rows.shape[:2], 1 / rows.shape[1]) if weights is None else weights
        place = (rows[..., 0].astype(np.int64) + T * np.arange(seeds)[:, None]).ravel()
        weight, ones = (
            np.asarray(np.bincount(place, values.ravel(), seeds * T), np.float64)
            for values in (each, each * rows[..., 1])
        )
        target = np.divide(ones, weight, out=np.zeros_like(ones), where=weight > 0)
        return self.labels.minimum(target.reshape(seeds, T), weight.reshape(seeds, T))
