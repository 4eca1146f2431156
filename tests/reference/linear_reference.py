"""Reference implementation of the linear loop: stack every row of X, take the pseudo-inverse, sample labels, repeat.

Slow on purpose, and written without any of the algebra in `simulate`, whose fast paths are compared with it value by
value and in speed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfloop.domains.linear import theory
from selfloop.domains.linear.simulation import subsample
from selfloop.domains.linear.simulation.scenario import Scenario
from selfloop.domains.linear.simulation.simulate import Simulation, least_squares_errors, ridge_errors
from selfloop.domains.linear.theory import SUBSAMPLE, Array, Integers
from selfloop.errors import UserError
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


def draw(scenario: Scenario, seed: int) -> Draws:
    """Draw a seed's rows, noise and picks; the stream is its own, not that of the fast path."""
    identity = digest([scenario.d, scenario.T, float(scenario.sigma2), scenario.covariance, scenario.regime, "direct"])
    generator = np.random.default_rng([int(identity, 16), seed])
    T = scenario.T
    X = generator.standard_normal((T, scenario.d)) @ scenario.factor.T
    iterations = range(1, scenario.iterations + 1)
    copies = [n if scenario.regime == "replace-multiple" else 1 for n in iterations]
    noise = tuple(scenario.sigma2**0.5 * generator.standard_normal(T * k) for k in copies)
    if scenario.regime != SUBSAMPLE:
        return Draws(X, noise)
    return Draws(X, noise, tuple(generator.choice(n * T, T, replace=False) for n in iterations))


def fits(scenario: Scenario, draws: Draws) -> Array:
    """Every ŵ_n, (iterations, d), by stacking the training set and fitting it anew in each iteration."""
    w = scenario.target
    pool_X, pool_y = np.empty((0, scenario.d)), np.empty(0)
    fitted = []
    if scenario.regime in ("real", "real-multiple"):
        y = draws.X @ w + draws.noise[0]
        copies = [n if scenario.regime == "real-multiple" else 1 for n in range(1, scenario.iterations + 1)]
        return np.stack([_fit(np.vstack([draws.X] * k), np.tile(y, k), scenario.ridge) for k in copies])
    for n, noise in enumerate(draws.noise):
        X = np.vstack([draws.X] * (n + 1)) if scenario.regime == "replace-multiple" else draws.X
        y = X @ w + noise
        if scenario.regime in ("accumulate", SUBSAMPLE):
            X, y = pool_X, pool_y = np.vstack([pool_X, X]), np.concatenate([pool_y, y])
        if scenario.regime == SUBSAMPLE:
            X, y = X[draws.picks[n]], y[draws.picks[n]]
        w = _fit(X, y, scenario.ridge)
        fitted.append(w)
    return np.stack(fitted)


def _fit(X: Array, y: Array, ridge: float) -> Array:
    if ridge:  # the same least squares, on rows that stand for the penalty
        rows, d = X.shape
        X, y = np.vstack([X, (ridge * rows) ** 0.5 * np.eye(d)]), np.concatenate([y, np.zeros(d)])
    return np.asarray(np.linalg.pinv(X) @ y)


def errors(scenario: Scenario, w: Array) -> Array:
    """‖ŵ - w*‖²_Σ of parameters (…, d), by eq. 1; shape (…)."""
    return np.asarray(np.sum(((w - scenario.target) @ scenario.factor) ** 2, axis=-1))


def simulate_directly(scenario: Scenario, seeds: Sequence[int]) -> Simulation:
    """What `simulate` computes, the long way round."""
    error = np.stack([errors(scenario, fits(scenario, draw(scenario, seed))) for seed in seeds])
    return Simulation(scenario, np.array(seeds, dtype=np.int64), error)


# --- closed forms, and the fast paths on recorded data ----------------------------------------------------------------


def fits_from_noise(regime: str, X: Array, noise: Sequence[Array], w_star: Array) -> Array:
    """Every ŵ_n from the recorded noise, without fitting anything (Theorem 1 and its counterparts): (iterations, d).

    Args:
        X: the real rows (T, d), of full column rank.
        noise: for each iteration the noise of the labels it sampled (iteration 1: of the real labels): (T,), and for
            replace-multiple (i·T,) at iteration i, X stacked i times.
        w_star: the true parameters (d,).

    Raises:
        UserError: a regime without a formula; a shape that does not fit; X without full column rank.
    """
    update = theory.update_of(regime)
    theory.check_iterations(len(noise))
    T, d = X.shape
    if np.shape(w_star) != (d,):
        raise UserError(f"w* has shape {np.shape(w_star)}; with X of {d} columns it must be ({d},)")
    if np.linalg.matrix_rank(X) < d:
        raise UserError(f"X of shape ({T}, {d}) does not have full column rank, which the closed form assumes")
    n = np.arange(1.0, len(noise) + 1)
    summed = np.empty((len(noise), T))
    for i, (values, share, copies) in enumerate(zip(noise, update.share(n), update.copies(n), strict=True)):
        if np.shape(values) != (int(copies) * T,):
            raise UserError(
                f"the noise of iteration {i + 1} has shape {np.shape(values)}; "
                f"under {regime} with T={T} it must be ({int(copies) * T},)"
            )
        summed[i] = share * np.reshape(values, (int(copies), T)).mean(axis=0)
    change = np.linalg.lstsq(X, np.cumsum(summed, axis=0).T, rcond=None)[0]
    return np.asarray(w_star + change.T)


def errors_from_rows(scenario: Scenario, X: Array, noise: Sequence[Array], picks: Sequence[Integers] = ()) -> Array:
    """The fast path's errors (iterations,) for recorded data instead of drawn ones.

    Args:
        scenario: d, T and the number of iterations must be the data's.
        X: the real rows (T, d).
        noise: label noise by iteration: (T,), or (i·T,) at iteration i of replace-multiple, X stacked i times.
        picks: for accumulate-subsample, the rows of the pool that iteration i trains on, (T,) in [0, i·T), where row
            k·T + j is row j of X as labelled for iteration k + 1.
    """
    sigma = scenario.sigma2**0.5
    if scenario.regime == SUBSAMPLE:
        unit = np.stack(noise)[:, None] / sigma
        error = subsample.subsample_errors(scenario, X[None], unit, np.stack(picks)[:, None])
        return np.asarray(error[0])
    # A mean over i copies, times √i, has the variance of one: the unit noise that the inner functions expect.
    unit = np.stack([e.reshape(-1, scenario.T).mean(axis=0) * (len(e) / scenario.T) ** 0.5 for e in noise]) / sigma
    if scenario.ridge:
        left, singular, right = np.linalg.svd(X, full_matrices=False)
        return np.asarray(ridge_errors(scenario, singular[None], right.T[None], (unit @ left)[None])[0])
    diagonal, above, reduced = bidiagonalize(np.asarray(np.linalg.solve(scenario.factor, X.T).T), unit)
    return np.asarray(least_squares_errors(scenario, diagonal[:, None], above[:, None], reduced[..., None])[:, 0])


def bidiagonalize(Z: Array, noise: Array) -> tuple[Array, Array, Array]:
    """Householder's Z = UBVᵀ for T ≥ d, with the noise carried along.

    Args:
        Z: (T, d).
        noise: (iterations, T).

    Returns:
        B's diagonal (d,), what stands above it (d - 1,), and the noise in the column space, noise @ U, (iterations, d).
    """
    Z, carried = Z.copy(), noise.T.copy()
    d = Z.shape[1]
    for k in range(d):
        mirror = _mirror(Z[k:, k])
        Z[k:] -= 2 * np.outer(mirror, mirror @ Z[k:])
        carried[k:] -= 2 * np.outer(mirror, mirror @ carried[k:])
        if k + 1 < d:
            mirror = _mirror(Z[k, k + 1 :])
            Z[:, k + 1 :] -= 2 * np.outer(Z[:, k + 1 :] @ mirror, mirror)
    return np.diagonal(Z).copy(), np.diagonal(Z, 1)[: d - 1].copy(), carried[:d].T


def _mirror(x: Array) -> Array:
    """The unit normal of the mirror that maps x onto the first axis; the sign that avoids cancellation."""
    normal = x.copy()
    normal[0] += np.copysign(np.linalg.norm(x), x[0])
    return np.asarray(normal / np.linalg.norm(normal))
