"""The Gaussian loop at scale: all seeds of a block at once, and of whole parts only the moments.

The fit and all measurements are the same in any units, so that the real distribution is N(0, I) here. The mean and the
scatter of a part of n rows from N(μ, FFᵀ) are independent: μ + F z/√n, and F RᵀR Fᵀ/n with R the triangular factor of
n - 1 standard normal rows (`wishart`). Only where a regime draws some rows of a part are rows themselves drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfloop.data.regimes import TrainingSet
from selfloop.domains.gaussian.config import Chains
from selfloop.simulation.law import drawn, limited
from selfloop.simulation.rows import Rows, all_rows, gathered, pick
from selfloop.simulation.stacked import LANES, Array, Picked
from selfloop.simulation.wishart import triangular

NUMBERS = 2**21  # of a data set of a block of seeds, at most; several fit the memory
# Of a singular covariance's trace: what its factor adds. It cannot be seen in what is measured.
TINY = 1e-13


@dataclass(frozen=True)
class Moments:
    """Of the rows of each seed: how many, their mean (seeds, d) and their covariance (seeds, d, d), by their number."""

    count: int
    mean: Array
    covariance: Array


@dataclass(frozen=True)
class Model:
    """A mean (seeds, d) and a covariance (seeds, d, d)."""

    mean: Array
    covariance: Array


def by_rows(sets: Sequence[TrainingSet]) -> bool:
    """Whether a regime draws some of a data set's rows."""
    return any(limited(one) or any(drawn(take) for take in one.takes) for one in sets)


def lanes(chains: Chains, rowwise: bool) -> int:
    """Seeds per block."""
    numbers = chains.dimension * (chains.rows if rowwise else chains.dimension)
    return max(1, min(LANES, NUMBERS // numbers))


class _Gaussians:
    """What both ways of keeping data sets have in common."""

    def __init__(self, chains: Chains, seeds: int, real: Array | None) -> None:
        self.d, self.n, self.seeds, self.chains, self.given = chains.dimension, chains.rows, seeds, chains, real

    def _estimate(self, mean: Array, covariance: Array, effective: float | Array) -> Model:
        if self.chains.covariance == "known":
            return Model(mean, np.broadcast_to(np.eye(self.d), (self.seeds, self.d, self.d)))
        if self.chains.covariance == "unbiased":
            covariance = covariance * np.reshape(effective / (effective - 1), (-1, 1, 1))
        return Model(mean, covariance)

    def _factor(self, model: Model) -> Array:
        """F (seeds, d, d) with FFᵀ the covariance of sampled rows."""
        if self.d == 1:
            return np.asarray(np.sqrt(self.chains.temperature * model.covariance))
        tiny = TINY * np.trace(model.covariance, axis1=1, axis2=2) / self.d
        whole = model.covariance + (tiny + np.finfo(np.float64).tiny)[:, None, None] * np.eye(self.d)
        return np.asarray(self.chains.temperature**0.5 * np.linalg.cholesky(whole))

    def measure(self, model: Model) -> Mapping[str, Array]:
        """As `model.measured`, of which the real distribution is N(0, I)."""
        variances = np.diagonal(model.covariance, axis1=1, axis2=2)
        found = {
            "mean_error": (model.mean**2).mean(axis=1),
            "variance": variances.mean(axis=1),
            "deviation": np.sqrt(variances.clip(0)).mean(axis=1),
        }
        if self.n > self.d and self.chains.covariance != "known":
            found["log_determinant"] = np.linalg.slogdet(model.covariance)[1] / self.d
        return found


class ByMoments(_Gaussians):
    """Data sets by their moments, for whole parts."""

    by_rows = False
    _pool: tuple[tuple[tuple[int, float], ...], float, Array, Array] | None = None

    def real(self, generator: np.random.Generator) -> Moments:
        if self.given is None:
            return self.fresh(generator, self.n)
        mean = self.given.mean(axis=0)
        away = self.given - mean
        shape = (self.seeds, self.d, self.d)
        return Moments(self.n, np.tile(mean, (self.seeds, 1)), np.broadcast_to(away.T @ away / self.n, shape))

    def fresh(self, generator: np.random.Generator, rows: int) -> Moments:
        return self._drawn(generator, np.zeros((self.seeds, self.d)), None, rows)

    def sample(self, model: Model, generator: np.random.Generator) -> Moments:
        return self._drawn(generator, model.mean, self._factor(model), self.n)

    def pick(self, data: Moments, picked: Picked) -> Moments:
        raise NotImplementedError("rows are drawn from data sets that are kept by rows")

    def merge(self, data: Sequence[Moments]) -> Moments:
        raise NotImplementedError("rows are drawn from data sets that are kept by rows")

    def _drawn(self, generator: np.random.Generator, mean: Array, factor: Array | None, rows: int) -> Moments:
        noise = generator.standard_normal((self.seeds, self.d, 1)) / rows**0.5
        R = (
            triangular(generator, self.seeds, self.d, rows - 1) / rows**0.5
            if rows > 1
            else np.zeros((self.seeds, 1, self.d))
        )
        if factor is not None:
            noise, R = factor @ noise, R @ factor.swapaxes(1, 2)
        return Moments(rows, mean + noise[..., 0], R.swapaxes(1, 2) @ R)

    def fit(self, taken: Sequence[tuple[Moments, Array]]) -> Model:
        """Moments are merged one after the other (Chan et al. 1979), beginning where the last iteration's ended."""
        shares = [float(share[0]) for _, share in taken]
        places = tuple((id(data), share / shares[0]) for (data, _), share in zip(taken, shares, strict=True))
        done, total = 0, 0.0
        if self._pool is not None and places[: len(self._pool[0])] == self._pool[0]:
            done, total, mean, covariance = len(self._pool[0]), *self._pool[1:]
        for (data, _), (_, share) in zip(taken[done:], places[done:], strict=True):
            if not total:
                total, mean, covariance = share, data.mean, data.covariance
                continue
            total += share
            part, away = share / total, data.mean - mean
            mean = mean + part * away
            between = part * (1 - part) * away[:, :, None] * away[:, None, :]
            covariance = (1 - part) * covariance + part * data.covariance + between
        self._held = [data for data, _ in taken]  # while the pool names them
        self._pool = places, total, mean, covariance
        squares = sum(share**2 / data.count for (data, _), share in zip(taken, shares, strict=True))
        return self._estimate(mean, covariance, 1 / squares)


class ByRows(_Gaussians):
    """Data sets row by row."""

    by_rows = True

    def real(self, generator: np.random.Generator) -> Rows:
        if self.given is None:
            return self.fresh(generator, self.n)
        return all_rows(np.broadcast_to(self.given, (self.seeds, self.n, self.d)))

    def fresh(self, generator: np.random.Generator, rows: int) -> Rows:
        return all_rows(generator.standard_normal((self.seeds, rows, self.d)))

    def sample(self, model: Model, generator: np.random.Generator) -> Rows:
        normal = generator.standard_normal((self.seeds, self.n, self.d))
        return all_rows(model.mean[:, None] + normal @ self._factor(model).swapaxes(1, 2))

    def pick(self, data: Rows, picked: Picked) -> Rows:
        return pick(data, picked)

    def merge(self, data: Sequence[Rows]) -> Rows:
        raise NotImplementedError("data sets that are kept by rows are not merged")

    def fit(self, taken: Sequence[tuple[Rows, Array]]) -> Model:
        rows, weights = gathered(taken)
        if weights is None:
            mean = rows.mean(axis=1)
            away = rows - mean[:, None]
            return self._estimate(mean, away.swapaxes(1, 2) @ away / rows.shape[1], float(rows.shape[1]))
        mean = np.einsum("sn,snd->sd", weights, rows)
        away = rows - mean[:, None]
        covariance = (away * weights[..., None]).swapaxes(1, 2) @ away
        return self._estimate(mean, covariance, 1 / (weights**2).sum(axis=1))
