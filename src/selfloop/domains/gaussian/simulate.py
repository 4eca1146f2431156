"""The Gaussian loop at scale: all seeds of a block at once, and of whole parts only the moments.

The fit and all measurements are the same in any units, so that the real distribution is N(0, I) here. The mean and the
scatter of a part of n rows from N(μ, FᵀF) are independent: μ + Fᵀz/√n, and FᵀRᵀR F/n with R the triangular factor of
n - 1 standard normal rows (`wishart`), so that R F/√n is a factor of the part's covariance, triangular if F is. Only
where a regime draws some rows of a part are rows themselves drawn. Normal numbers, and how far sampled rows are from
their model's mean, have the precision of float32, all else float64's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfloop.data.regimes import TrainingSet
from selfloop.domains.gaussian.config import Chains
from selfloop.simulation.factors import add_products, factored, times
from selfloop.simulation.law import drawn, limited
from selfloop.simulation.normals import standard_normal
from selfloop.simulation.stacked import Array, Integers, even_width
from selfloop.simulation.wishart import triangular

NUMBERS = 2**17  # of a block of seeds' covariances, which a processor's cache holds
# Of a singular covariance's trace: what its factor adds. It cannot be seen in what is measured.
TINY = 1e-13


@dataclass(frozen=True)
class Moments:
    """Of the rows of each seed: how many, their mean (seeds, d), and F (seeds, r, d), upper triangular.

    FᵀF is their covariance, by their number.
    """

    count: int
    mean: Array
    factor: Array


@dataclass(frozen=True)
class Model:
    """A mean (seeds, d), and an upper triangular factor of the covariance (seeds, r, d)."""

    mean: Array
    factor: Array


def by_rows(sets: Sequence[TrainingSet]) -> bool:
    """Whether a regime draws some of a data set's rows."""
    return any(limited(one) or any(drawn(take) for take in one.takes) for one in sets)


def lanes(chains: Chains) -> int:
    """Seeds per block of `ByMoments`."""
    return even_width(NUMBERS // chains.dimension**2)


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
        """The Cholesky factor; `covariance`, of which the upper triangle is read, is overwritten."""
        tiny = TINY * np.einsum("sdd->s", covariance) / self.d + np.finfo(np.float64).tiny
        covariance.reshape(self.seeds, -1)[:, :: self.d + 1] += tiny[:, None]
        return factored(covariance)

    def _tempered(self, model: Model) -> Array:
        """The factor of sampled rows' covariance."""
        temperature = self.chains.temperature
        return model.factor if temperature == 1 else model.factor * temperature**0.5

    def measure(self, model: Model) -> Mapping[str, Array]:
        """As `model.measured`, of which the real distribution is N(0, I)."""
        variances = np.einsum("srd,srd->sd", model.factor, model.factor)
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
        factor = np.linalg.qr((self.given - mean) / self.n**0.5).R
        return Moments(self.n, np.tile(mean, (self.seeds, 1)), np.broadcast_to(factor, (self.seeds, *factor.shape)))

    def fresh(self, generator: np.random.Generator, rows: int) -> Moments:
        noise, R = self._drawn(generator, self.d, rows)
        return Moments(rows, noise[:, 0], R)

    def sample(self, model: Model, generator: np.random.Generator) -> Moments:
        factor = self._tempered(model)
        noise, R = self._drawn(generator, factor.shape[1], self.n)
        return Moments(self.n, model.mean + (noise @ factor)[:, 0], times(R, factor))

    def _drawn(self, generator: np.random.Generator, d: int, rows: int) -> tuple[Array, Array]:
        """Of standard normal rows: their mean (seeds, 1, d), and R (seeds, r, d) with RᵀR their covariance."""
        noise = standard_normal(generator, (self.seeds, 1, d))
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
        self.total, self.mean = 1.0, first.mean
        self.scatter = np.zeros((*first.mean.shape, first.mean.shape[1]))
        add_products(self.scatter, first.factor)
        self.held = [first]  # while `places` names them
        self.places: tuple[tuple[int, float], ...] = ()

    def add(self, data: Moments, share: float) -> None:
        """Merge another one, of that weight."""
        self.held.append(data)
        part = share / (self.total + share)
        away = data.mean - self.mean
        self.mean = self.mean + part * away
        add_products(self.scatter, data.factor, share)
        add_products(self.scatter, away[:, None], part * self.total)
        self.total += share


class ByRows(_Gaussians):
    """Data sets row by row."""

    def real(self, generator: np.random.Generator) -> Array:
        if self.given is None:
            return self.fresh(generator, self.n)
        return np.broadcast_to(self.given, (self.seeds, self.n, self.d))

    def fresh(self, generator: np.random.Generator, rows: int) -> Array:
        return standard_normal(generator, (self.seeds, rows, self.d))

    def sample(self, model: Model, generator: np.random.Generator, rows: Integers, out: Array) -> None:
        away = standard_normal(generator, (*rows.shape, self.d), np.float32)
        np.add(times(away, self._tempered(model)), model.mean[:, None], out=out)

    def fit(self, rows: Array, weights: Array | None) -> Model:
        count = rows.shape[1]
        shares = np.full((1, count), 1 / count) if weights is None else weights
        mean = (shares[:, None] @ rows)[:, 0]
        effective = 1 / (shares**2).sum(axis=1)
        if self.chains.covariance == "known":
            return self._model(mean, rows, effective)
        rows -= mean[:, None]
        if weights is not None:
            rows *= np.sqrt(weights)[..., None]
        covariance = np.zeros((self.seeds, self.d, self.d))
        add_products(covariance, rows, 1 / count if weights is None else 1.0)
        return self._model(mean, self._factor(covariance), effective)
