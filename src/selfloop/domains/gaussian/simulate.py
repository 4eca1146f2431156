"""The Gaussian loop at scale: all seeds of a block at once, and of whole parts only the moments.

The fit and all measurements are the same in any units, so that the real distribution is N(0, I) here. The mean and the
scatter of a part of n rows from N(μ, FFᵀ) are independent: μ + F z/√n, and F RᵀR Fᵀ/n with R the triangular factor of
n - 1 standard normal rows (`wishart`), so that F Rᵀ/√n is a factor of the part's covariance, triangular if F is. Only
where a regime draws some rows of a part are rows themselves drawn. Normal numbers have the precision of float32, all
that is worked out of them float64's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selfloop.data.regimes import TrainingSet
from selfloop.domains.gaussian.config import Chains
from selfloop.simulation.law import drawn, limited
from selfloop.simulation.normals import standard_normal
from selfloop.simulation.stacked import LANES, Array, Integers
from selfloop.simulation.wishart import triangular

NUMBERS = 2**17  # of a block of seeds' covariances, which a processor's cache holds
# Of a singular covariance's trace: what its factor adds. It cannot be seen in what is measured.
TINY = 1e-13


@dataclass(frozen=True)
class Moments:
    """Of the rows of each seed: how many, their mean (seeds, d), and F (seeds, d, r), lower triangular.

    FFᵀ is their covariance, by their number.
    """

    count: int
    mean: Array
    factor: Array

    @cached_property
    def covariance(self) -> Array:
        """FFᵀ, (seeds, d, d)."""
        return np.asarray(self.factor @ self.factor.swapaxes(1, 2))


@dataclass(frozen=True)
class Model:
    """A mean (seeds, d), and a lower triangular factor of the covariance (seeds, d, r)."""

    mean: Array
    factor: Array


def by_rows(sets: Sequence[TrainingSet]) -> bool:
    """Whether a regime draws some of a data set's rows."""
    return any(limited(one) or any(drawn(take) for take in one.takes) for one in sets)


def lanes(chains: Chains) -> int:
    """Seeds per block of `ByMoments`."""
    return max(1, min(LANES, NUMBERS // chains.dimension**2))


class _Gaussians:
    """What both ways of keeping data sets have in common."""

    def __init__(self, chains: Chains, seeds: int, real: Array | None) -> None:
        self.d, self.n, self.seeds, self.chains, self.given = chains.dimension, chains.rows, seeds, chains, real

    def _model(self, mean: Array, factor: Array, effective: float | Array) -> Model:
        """The fit of rows with a factor of their covariance, by their number, that count as `effective` ones."""
        if self.chains.covariance == "known":
            factor = np.broadcast_to(np.eye(self.d), (self.seeds, self.d, self.d))
        elif self.chains.covariance == "unbiased":
            factor = factor * np.sqrt(np.reshape(effective / (effective - 1), (-1, 1, 1)))
        return Model(mean, factor)

    def _factor(self, covariance: Array) -> Array:
        """The Cholesky factor; `covariance` is overwritten."""
        tiny = TINY * np.trace(covariance, axis1=1, axis2=2) / self.d + np.finfo(np.float64).tiny
        covariance.reshape(self.seeds, -1)[:, :: self.d + 1] += tiny[:, None]
        return np.asarray(np.linalg.cholesky(covariance))

    def _tempered(self, model: Model) -> Array:
        """The factor of sampled rows' covariance."""
        temperature = self.chains.temperature
        return model.factor if temperature == 1 else model.factor * temperature**0.5

    def measure(self, model: Model) -> Mapping[str, Array]:
        """As `model.measured`, of which the real distribution is N(0, I)."""
        variances = np.einsum("sij,sij->si", model.factor, model.factor)
        found = {
            "mean_error": (model.mean**2).mean(axis=1),
            "variance": variances.mean(axis=1),
            "deviation": np.sqrt(variances).mean(axis=1),
        }
        if self.n > self.d and self.chains.covariance != "known":
            diagonal = np.diagonal(model.factor, axis1=1, axis2=2)
            found["log_determinant"] = 2 * np.log(np.abs(diagonal)).mean(axis=1)
        return found


class ByMoments(_Gaussians):
    """Data sets by their moments, for whole parts."""

    _pool: "_Pool | None" = None

    def real(self, generator: np.random.Generator) -> Moments:
        if self.given is None:
            return self.fresh(generator, self.n)
        mean = self.given.mean(axis=0)
        factor = np.linalg.qr((self.given - mean) / self.n**0.5).R.T
        return Moments(self.n, np.tile(mean, (self.seeds, 1)), np.broadcast_to(factor, (self.seeds, *factor.shape)))

    def fresh(self, generator: np.random.Generator, rows: int) -> Moments:
        mean, R = self._drawn(generator, self.d, rows)
        return Moments(rows, mean[..., 0], R.swapaxes(1, 2))

    def sample(self, model: Model, generator: np.random.Generator) -> Moments:
        factor = self._tempered(model)
        noise, R = self._drawn(generator, factor.shape[2], self.n)
        return Moments(self.n, model.mean + (factor @ noise)[..., 0], factor @ R.swapaxes(1, 2))

    def _drawn(self, generator: np.random.Generator, d: int, rows: int) -> tuple[Array, Array]:
        """Of standard normal rows: their mean (seeds, d, 1), and R (seeds, r, d) with RᵀR their covariance."""
        noise = standard_normal(generator, (self.seeds, d, 1))
        noise /= rows**0.5
        R = triangular(generator, self.seeds, d, rows - 1, standard_normal)
        R /= rows**0.5
        return noise, R

    def pick(self, data: Moments, numbers: Integers, generator: np.random.Generator) -> Moments:
        raise NotImplementedError("rows are drawn from data sets that are kept by rows")

    def merge(self, data: Sequence[Moments]) -> Moments:
        raise NotImplementedError("rows are drawn from data sets that are kept by rows")

    def fit(self, taken: Sequence[tuple[Moments, Array]]) -> Model:
        """Moments are merged one after the other (Chan et al. 1979), beginning where the last iteration's ended."""
        shares = [float(share[0]) for _, share in taken]
        effective = 1 / sum(share**2 / data.count for (data, _), share in zip(taken, shares, strict=True))
        if len(taken) == 1:
            return self._model(taken[0][0].mean, taken[0][0].factor, effective)
        places = tuple((id(data), share / shares[0]) for (data, _), share in zip(taken, shares, strict=True))
        pool = self._pool
        if pool is None or places[: len(pool.places)] != pool.places:
            pool = _Pool(taken[0][0])
        for (data, _), (_, share) in zip(taken[len(pool.held) :], places[len(pool.held) :], strict=True):
            pool.add(data, share)
        pool.places = places
        self._pool = pool
        known = self.chains.covariance == "known"
        return self._model(pool.mean, pool.scatter if known else self._factor(pool.scatter / pool.total), effective)


class _Pool:
    """Moments of several data sets, merged: `total` weight, mean (seeds, d), and scatter (seeds, d, d) about it."""

    def __init__(self, first: Moments) -> None:
        self.total, self.mean, self.scatter = 1.0, first.mean, first.covariance.copy()
        self.held = [first]  # while `places` names them
        self.places: tuple[tuple[int, float], ...] = ()

    def add(self, data: Moments, share: float) -> None:
        """Merge another one, of that weight."""
        self.held.append(data)
        part = share / (self.total + share)
        away = data.mean - self.mean
        self.mean = self.mean + part * away
        self.scatter += data.covariance if share == 1 else share * data.covariance
        away *= (part * self.total) ** 0.5
        self.scatter += away[:, :, None] * away[:, None, :]
        self.total += share


class ByRows(_Gaussians):
    """Data sets row by row."""

    def real(self, generator: np.random.Generator) -> Array:
        if self.given is None:
            return self.fresh(generator, self.n)
        return np.broadcast_to(self.given, (self.seeds, self.n, self.d))

    def fresh(self, generator: np.random.Generator, rows: int) -> Array:
        return standard_normal(generator, (self.seeds, rows, self.d))

    def sample(self, model: Model, generator: np.random.Generator, rows: Integers) -> Array:
        X = standard_normal(generator, (*rows.shape, self.d)) @ self._tempered(model).swapaxes(1, 2)
        X += model.mean[:, None]
        return np.asarray(X)

    def fit(self, rows: Array, weights: Array | None) -> Model:
        if weights is None:
            mean, effective = rows.mean(axis=1), np.array(float(rows.shape[1]))
        else:
            mean, effective = (weights[:, None] @ rows)[:, 0], 1 / (weights**2).sum(axis=1)
        if self.chains.covariance == "known":
            return self._model(mean, rows, effective)
        rows -= mean[:, None]
        if weights is None:
            covariance = rows.swapaxes(1, 2) @ rows / rows.shape[1]
        else:
            covariance = (rows * weights[..., None]).swapaxes(1, 2) @ rows
        return self._model(mean, self._factor(covariance), effective)
