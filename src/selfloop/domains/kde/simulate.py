"""Kernel density estimates at scale: all seeds of a block at once, row by row."""

from collections.abc import Mapping

import numpy as np

from selfloop.domains.kde.config import Chains
from selfloop.domains.kde.model import log_mean, variance
from selfloop.domains.vectors import Array
from selfloop.simulation.stacked import Integers

TEST_ROWS = 100  # that are measured, the first ones
Model = tuple[Array, Array | None]  # points (seeds, N, d), and weights (seeds, N) where they are not all alike


class Densities:
    """Chains of `seeds` seeds; `real` are the rows that all begin with, if they are given."""

    def __init__(self, chains: Chains, seeds: int, test: Array, real: Array | None) -> None:
        self.chains, self.seeds, self.test, self.given = chains, seeds, test[:TEST_ROWS], real

    def real(self, generator: np.random.Generator) -> Array:
        if self.given is None:
            return self.fresh(generator, self.chains.rows)
        return np.broadcast_to(self.given, (self.seeds, *self.given.shape))

    def fresh(self, generator: np.random.Generator, rows: int) -> Array:
        return generator.standard_normal((self.seeds, rows, self.test.shape[1]))

    def sample(self, model: Model, generator: np.random.Generator, rows: Integers, out: Array) -> None:
        points, weights = model
        shape = rows.shape
        if weights is None:
            chosen = generator.integers(points.shape[1], size=shape)
        else:
            # Of all seeds one after the other: seed s has the numbers from s to s + 1.
            ends = (np.cumsum(weights, axis=1) + np.arange(self.seeds)[:, None]).ravel()
            numbers = generator.random(shape) + np.arange(self.seeds)[:, None]
            chosen = np.searchsorted(ends, numbers).clip(0, len(ends) - 1) % points.shape[1]
        noise = generator.standard_normal((*shape, points.shape[2]))
        np.add(np.take_along_axis(points, chosen[..., None], axis=1), self.chains.bandwidth * noise, out=out)

    def fit(self, rows: Array, weights: Array | None) -> Model:
        return rows, weights

    def measure(self, model: Model) -> Mapping[str, Array]:
        """As the step evaluate_model, on the first test rows."""
        points, weights = model
        return {
            "negative_log_likelihood": np.array([self._loss(s, points, weights) for s in range(self.seeds)]),
            "variance": variance(points, weights) + self.chains.bandwidth**2,
        }

    def _loss(self, seed: int, points: Array, weights: Array | None) -> float:
        own, h2 = points[seed], self.chains.bandwidth**2
        shares = np.full(len(own), 1 / len(own)) if weights is None else weights[seed]
        squares = (self.test**2).sum(axis=1)[:, None] - 2 * self.test @ own.T + (own**2).sum(axis=1)
        logs = log_mean(squares.clip(0) / (2 * h2), shares)
        return float(0.5 * own.shape[1] * np.log(2 * np.pi * h2) - logs.mean())
