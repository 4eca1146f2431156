"""Linear regression under any regime, row by row, for all seeds of a block at once.

Labels are kept as their residuals from Xw*, r = y - Xw*, so that a fit gives u = ŵ - w* directly: with weights p that
add up to 1, (Σ p x xᵀ + λ) u = Σ p x r - λ w*. Every part has the real rows' X; fresh rows have others.
"""

from collections.abc import Mapping

import numpy as np

from selfloop.domains.linear.simulation.scenario import Scenario
from selfloop.identity import digest
from selfloop.simulation import rows
from selfloop.simulation.stacked import Array, Integers, Streams

SMALL = 1e-12  # an eigenvalue below this share of the largest is 0


def lanes(scenario: Scenario) -> int:
    """Seeds per block."""
    return rows.lanes(scenario.T, scenario.d + 1, scenario.iterations)


def run_block(scenario: Scenario, block: int, width: int) -> Array:
    """The errors of all seeds of a block, (width, iterations)."""
    assert scenario.sets is not None
    identity = digest([scenario.d, scenario.T, float(scenario.sigma2), scenario.covariance, "regressions"])
    chains = Regressions(scenario, width)
    return rows.run(chains, rows.layout(scenario.sets, scenario.T), Streams(identity, block), width)["excess_risk"]


class Regressions:
    """Chains of `seeds` seeds: a data set is rows [x, r], and a model u = ŵ - w* (seeds, d)."""

    def __init__(self, scenario: Scenario, seeds: int) -> None:
        self.scenario, self.seeds = scenario, seeds
        self.inputs: Array | None = None

    def real(self, generator: np.random.Generator) -> Array:
        rows = self.fresh(generator, self.scenario.T)
        self.inputs = rows[..., :-1]
        return rows

    def fresh(self, generator: np.random.Generator, rows: int) -> Array:
        X = generator.standard_normal((self.seeds, rows, self.scenario.d))
        if self.scenario.covariance is not None:
            X = X @ self.scenario.factor.T
        return np.concatenate([X, self._noise(generator, rows)], axis=2)

    def sample(self, model: Array, generator: np.random.Generator, rows: Integers, out: Array) -> None:
        assert self.inputs is not None
        X = np.take_along_axis(self.inputs, rows[..., None], axis=1)
        np.concatenate([X, X @ model[..., None] + self._noise(generator, rows.shape[1])], axis=2, out=out)

    def fit(self, rows: Array, weights: Array | None) -> Array:
        X, d = rows[..., :-1], self.scenario.d
        weighted = X / rows.shape[1] if weights is None else X * weights[..., None]
        gram = weighted.swapaxes(1, 2) @ X + self.scenario.ridge * np.eye(d)
        right = weighted.swapaxes(1, 2) @ rows[..., -1:] - self.scenario.ridge * self.scenario.target[:, None]
        values, vectors = np.linalg.eigh(gram)
        with np.errstate(divide="ignore"):
            inverse = np.where(values > SMALL * values[:, -1:], 1 / values, 0.0)
        u = vectors @ (inverse[..., None] * (vectors.swapaxes(1, 2) @ right))
        # Where rows span fewer dimensions, the shortest ŵ has nothing of w* in the others.
        lost = (inverse == 0)[..., None] * (vectors.swapaxes(1, 2) @ self.scenario.target[:, None])
        return np.asarray((u - vectors @ lost)[..., 0])

    def measure(self, model: Array) -> Mapping[str, Array]:
        return {"excess_risk": ((model @ self.scenario.factor) ** 2).sum(axis=1)}

    def _noise(self, generator: np.random.Generator, rows: int) -> Array:
        return generator.normal(scale=self.scenario.sigma2**0.5, size=(self.seeds, rows, 1))
