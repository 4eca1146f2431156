"""The loop as it is told: stack every row of X, take the pseudo-inverse, sample labels, go round again.

Slow on purpose, and written without a line of the algebra in `simulate`: it is the reference that the fast paths are
compared with, value by value and in speed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfloop.domains.linear.simulation.setting import Setting
from selfloop.domains.linear.simulation.simulate import Simulation
from selfloop.domains.linear.theory import SUBSAMPLE, Array, Integers
from selfloop.identity import digest


@dataclass(frozen=True)
class Draws:
    """All that is random in one seed.

    Attributes:
        X: real rows (T, d).
        noise: label noise by iteration: (T,), or (i·T,) at iteration i of replace-multiple, X stacked i times.
        picks: for accumulate-subsample, by iteration, T different rows of the pool of i·T; else empty.
    """

    X: Array
    noise: tuple[Array, ...]
    picks: tuple[Integers, ...] = ()


def draw(setting: Setting, seed: int) -> Draws:
    """Draw a seed's rows, noise and picks; the stream is its own, not that of the fast path."""
    identity = digest([setting.d, setting.T, float(setting.sigma2), setting.covariance, setting.regime, "direct"], 32)
    generator = np.random.default_rng([int(identity, 16), seed])
    T = setting.T
    X = generator.standard_normal((T, setting.d)) @ setting.factor.T
    iterations = range(1, setting.iterations + 1)
    copies = [n if setting.regime == "replace-multiple" else 1 for n in iterations]
    noise = tuple(setting.sigma2**0.5 * generator.standard_normal(T * k) for k in copies)
    if setting.regime != SUBSAMPLE:
        return Draws(X, noise)
    return Draws(X, noise, tuple(generator.choice(n * T, T, replace=False) for n in iterations))


def fits(setting: Setting, draws: Draws) -> Array:
    """Every ŵ_n, (iterations, d), by stacking the training set and fitting it anew in each iteration."""
    w = setting.target
    pool_X, pool_y = np.empty((0, setting.d)), np.empty(0)
    fitted = []
    for n, noise in enumerate(draws.noise):
        X = np.vstack([draws.X] * (n + 1)) if setting.regime == "replace-multiple" else draws.X
        y = X @ w + noise
        if setting.regime in ("accumulate", SUBSAMPLE):
            X, y = pool_X, pool_y = np.vstack([pool_X, X]), np.concatenate([pool_y, y])
        if setting.regime == SUBSAMPLE:
            X, y = X[draws.picks[n]], y[draws.picks[n]]
        w = _fit(X, y, setting.ridge)
        fitted.append(w)
    return np.stack(fitted)


def _fit(X: Array, y: Array, ridge: float) -> Array:
    if ridge:  # the same least squares, on rows that stand for the penalty
        rows, d = X.shape
        X, y = np.vstack([X, (ridge * rows) ** 0.5 * np.eye(d)]), np.concatenate([y, np.zeros(d)])
    return np.asarray(np.linalg.pinv(X) @ y)


def errors(setting: Setting, w: Array) -> Array:
    """‖ŵ - w*‖²_Σ of parameters (…, d), by eq. 1; shape (…)."""
    return np.asarray(np.sum(((w - setting.target) @ setting.factor) ** 2, axis=-1))


def simulate_directly(setting: Setting, seeds: Sequence[int]) -> Simulation:
    """What `simulate` computes, the long way round."""
    error = np.stack([errors(setting, fits(setting, draw(setting, seed))) for seed in seeds])
    return Simulation(setting, np.array(seeds, dtype=np.int64), error)
