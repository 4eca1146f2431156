"""The linear loop at scale: one call per setting, all seeds at once, and no training set ever stacked.

What the algebra gives (terms and proofs: `theory`):

- Least squares under replace, accumulate and replace-multiple: with X = ZLᵀ and Z = UBVᵀ, B upper bidiagonal,
  ‖ŵ_n - w*‖²_Σ = ‖B⁻¹ Σ_{i≤n} sigma β_i ξ_i‖² where ξ_i = UᵀE_i/sigma is N(0, I_d). Row k = 0 … d-1 of B holds χ(T-k)
  on the diagonal and χ(d-1-k) beside it, all independent (Householder's reduction of a Gaussian matrix); V does not
  matter. So neither X nor its T noise values are drawn, but 2d-1 chi variables and d normals per iteration: O(d) work.
- Ridge needs Σ, w* and V. A triangular factor R of ZᵀZ is drawn by its Bartlett decomposition; in the singular basis of
  RLᵀ the recursion is one multiplication per coordinate and iteration.
- accumulate-subsample has neither: rows and noise come back in changing multiplicities; see `subsample`.

Every path takes its random numbers as arguments of one inner function, which `errors_from_rows` feeds with recorded X
and noise: that is how the fast paths are compared with the direct loop, value by value.

Random streams are derived from (what the data depend on: d, T, sigma2, Σ; seed; purpose) by SeedSequence. A new
generator for each seed would be most of the run time, so seeds draw side by side: with 100 lanes, seed s is lane s mod
100 of block s//100, and a block is always drawn whole. So a seed's values never depend on which other seeds run in the
same call, and a longer run begins with the values of a shorter one. Regimes other than accumulate-subsample share a
seed's X and unit noise, so that, as in the loop, iteration 1 is the same in each; settings that differ in d, T, sigma2
or Σ share nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfloop.domains.linear import theory
from selfloop.domains.linear.simulation import subsample
from selfloop.domains.linear.simulation.setting import DATA, NOISE, Setting, generator
from selfloop.domains.linear.theory import SUBSAMPLE, Array, Integers
from selfloop.errors import UserError

LANES = 100  # seeds drawn side by side; more would draw in vain for studies of fewer seeds


@dataclass(frozen=True)
class Simulation:
    """The test errors of one setting.

    Attributes:
        setting: what was simulated.
        seeds: (seeds,).
        error: ‖ŵ_n - w*‖²_Σ, shape (seeds, iterations), iteration n in column n - 1.
    """

    setting: Setting
    seeds: Integers
    error: Array


def simulate(setting: Setting, seeds: Sequence[int]) -> Simulation:
    """Run every seed of a setting.

    Raises:
        UserError: seeds missing, repeated or negative.
    """
    numbers = np.array(seeds, dtype=np.int64)
    if len(numbers) == 0 or numbers.min() < 0 or len(np.unique(numbers)) < len(numbers):
        raise UserError("seeds must be at least one, none negative, and all different")
    error = np.empty((len(numbers), setting.iterations))
    width = lanes(setting)
    for block in np.unique(numbers // width).tolist():
        mine = np.flatnonzero(numbers // width == block)
        which = numbers[mine] % width
        if setting.regime == SUBSAMPLE:
            error[mine] = subsample.run_block(setting, block, which)
        else:
            error[mine] = (_run_ridge if setting.ridge else _run_least_squares)(setting, block)[which]
    return Simulation(setting, numbers, error)


def lanes(setting: Setting) -> int:
    """Seeds that a setting's blocks draw side by side."""
    return subsample.lanes(setting.T) if setting.regime == SUBSAMPLE else LANES


def errors_from_rows(setting: Setting, X: Array, noise: Sequence[Array], picks: Sequence[Integers] = ()) -> Array:
    """The fast path's errors (iterations,) for recorded data instead of drawn ones.

    Args:
        setting: d, T and the number of iterations must be the data's.
        X: the real rows (T, d).
        noise: label noise by iteration: (T,), or (i·T,) at iteration i of replace-multiple, X stacked i times.
        picks: for accumulate-subsample, the rows of the pool that iteration i trains on, (T,) in [0, i·T), where row
            k·T + j is row j of X as labelled for iteration k + 1.
    """
    sigma = setting.sigma2**0.5
    if setting.regime == SUBSAMPLE:
        unit = np.stack(noise)[:, None] / sigma
        error = subsample.subsample_errors(setting, X[None], unit, np.stack(picks)[:, None])
        return np.asarray(error[0])
    # A mean over i copies, times √i, has the variance of one: the unit noise that the inner functions expect.
    unit = np.stack([e.reshape(-1, setting.T).mean(axis=0) * (len(e) / setting.T) ** 0.5 for e in noise]) / sigma
    if setting.ridge:
        left, singular, right = np.linalg.svd(X, full_matrices=False)
        return np.asarray(ridge_errors(setting, singular[None], right.T[None], (unit @ left)[None])[0])
    diagonal, above, reduced = bidiagonalize(np.asarray(np.linalg.solve(setting.factor, X.T).T), unit)
    return np.asarray(least_squares_errors(setting, diagonal[:, None], above[:, None], reduced[..., None])[:, 0])


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


def least_squares_errors(setting: Setting, diagonal: Array, above: Array, noise: Array) -> Array:
    """‖B⁻¹ Σ_{i≤n} sigma β_i ξ_i‖² by back substitution, (iterations, seeds); seeds are the last, contiguous axis.

    Args:
        setting: a regime with a formula, and no ridge.
        diagonal: of B, (d, seeds).
        above: the entries above it, (d - 1, seeds).
        noise: ξ, standard normal, (iterations, d, seeds); overwritten.
    """
    noise *= theory.noise_weights(setting.regime, len(noise))[:, None, None]
    summed = np.cumsum(noise, axis=0, out=noise)
    x = summed[:, -1] / diagonal[-1]
    error = x * x
    for k in range(setting.d - 2, -1, -1):
        x *= -above[k]
        x += summed[:, k]
        x /= diagonal[k]
        error += x * x
    error *= setting.sigma2
    return np.asarray(error)


def ridge_errors(setting: Setting, singular: Array, basis: Array, noise: Array) -> Array:
    """The errors under ridge, (seeds, iterations), for r = min(T, d) singular values of X.

    With X = U diag(s) Vᵀ and a_n = Vᵀŵ_n, fitting a fresh part gives s²/(s²+λT)·a_{n-1} + s/(s²+λT)·sigma·ξ; a regime
    mixes that with what the older rows give, a_{n-1} itself (penalty per row: the same resolvent in each iteration).

    Args:
        setting: a regime with a formula.
        singular: s, (seeds, r).
        basis: V, (seeds, d, r).
        noise: ξ, standard normal, (seeds, iterations, r).
    """
    n = np.arange(1.0, noise.shape[1] + 1)
    share = theory.update_of(setting.regime).share(n)
    weights = theory.noise_weights(setting.regime, noise.shape[1])
    denominator = singular**2 + setting.ridge * setting.T
    keep, gain = singular**2 / denominator, setting.sigma2**0.5 * singular / denominator
    fit = np.empty_like(noise)
    a = setting.target @ basis
    for i in range(noise.shape[1]):
        a = (1 - share[i] + share[i] * keep) * a + weights[i] * gain * noise[:, i]
        fit[:, i] = a
    # Row vectors: ‖ŵ - w*‖²_Σ = ‖(ŵ - w*)ᵀL‖².
    away = (fit @ basis.swapaxes(1, 2) - setting.target) @ setting.factor
    return np.asarray(np.einsum("snd,snd->sn", away, away))


def _run_least_squares(setting: Setting, block: int) -> Array:
    d = setting.d
    # χ² of k degrees of freedom is twice a gamma of shape k/2.
    shapes = np.r_[setting.T - np.arange(d), d - 1 - np.arange(d - 1)] / 2
    data = generator(setting, "bidiagonal", block, DATA)
    chi = np.sqrt(2 * data.standard_gamma(shapes[:, None], (2 * d - 1, LANES)))
    noise = generator(setting, "bidiagonal", block, NOISE).standard_normal((setting.iterations, d, LANES))
    return least_squares_errors(setting, chi[:d], chi[d:], noise).T


def _run_ridge(setting: Setting, block: int) -> Array:
    d, rank = setting.d, min(setting.T, setting.d)
    data = generator(setting, "triangular", block, DATA)
    R = np.zeros((LANES, rank, d))
    diagonal, above = np.arange(rank), np.triu_indices(rank, 1, d)
    shapes = (setting.T - diagonal) / 2
    R[:, diagonal, diagonal] = np.sqrt(2 * data.standard_gamma(shapes, (LANES, rank)))
    R[:, above[0], above[1]] = data.standard_normal((LANES, len(above[0])))
    noise = generator(setting, "triangular", block, NOISE).standard_normal((setting.iterations, LANES, rank))
    _, singular, right = np.linalg.svd(R @ setting.factor.T, full_matrices=False)
    return ridge_errors(setting, singular, right.swapaxes(1, 2), noise.swapaxes(0, 1))
