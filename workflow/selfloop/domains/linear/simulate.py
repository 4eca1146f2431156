"""The linear loop at scale: one call per setting, all seeds at once, and no training set ever stacked.

What the algebra gives (terms and proofs: `theory`):

- Least squares under replace, accumulate and replace-multiple: with X = ZLᵀ and Z = UBVᵀ, B upper bidiagonal,
  ‖ŵ_n - w*‖²_Σ = ‖B⁻¹ Σ_{i≤n} sigma β_i ξ_i‖² where ξ_i = UᵀE_i/sigma is N(0, I_d). Row k = 0 … d-1 of B holds χ(T-k)
  on the diagonal and χ(d-1-k) beside it, all independent (Householder's reduction of a Gaussian matrix); V does not
  matter. So neither X nor its T noise values are drawn, but 2d-1 chi variables and d normals per iteration: O(d) work.
- Ridge needs Σ, w* and V. A triangular factor R of ZᵀZ is drawn by its Bartlett decomposition; in the singular basis of
  RLᵀ the recursion is one multiplication per coordinate and iteration.
- accumulate-subsample has neither: rows and noise come back in changing multiplicities. X and the noise are drawn in
  full, but nothing is stacked: a pick of T rows out of nT is a count and a sum per distinct row of X, and seeds run in
  batches.

Every path takes its random numbers as arguments of one inner function, which `errors_from_rows` feeds with recorded X
and noise: that is how the fast paths are compared with the direct loop, value by value.

Random streams are derived from (what the data depend on: d, T, sigma2, Σ; seed; purpose) by SeedSequence. Where a new
generator for each seed would be most of the run time, seeds draw side by side: seed s is lane s mod 25 of block s//25,
and a block is always drawn whole. So a seed's values never depend on which other seeds run in the same call, and a
longer run begins with the values of a shorter one. Regimes other than accumulate-subsample share a seed's X and unit
noise, so that, as in the loop, iteration 1 is the same in each; settings that differ in d, T, sigma2 or Σ share
nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from selfloop.domains.linear import theory
from selfloop.domains.linear.design import covariance
from selfloop.domains.linear.theory import SUBSAMPLE, Array
from selfloop.errors import UserError
from selfloop.identity import digest

Integers = npt.NDArray[np.int64]

LANES = 25  # seeds drawn side by side; at d=100 and 100 iterations a block is 2 MB, which a core's cache holds
BATCH_NUMBERS = 1 << 18  # numbers per array in a batch of seeds of accumulate-subsample, for the same reason

DATA, NOISE, PICKS = range(3)  # purposes of random streams


@dataclass(frozen=True)
class Setting:
    """One linear experiment.

    Attributes:
        d: input dimension.
        T: rows of real data, and of synthetic data per part.
        sigma2: variance of the label noise, real and synthetic.
        regime: one of `theory.REGIMES`.
        iterations: models fitted in a row.
        covariance: Σ as nested rows; None for the identity.
        ridge: λ ≥ 0 in (1/N)‖Xw - y‖² + λ‖w‖² over a training set of N rows. Per row, so that λ means the same in
            regimes whose training sets grow. 0 is least squares, as in the paper.
        w_star: the true parameters; None for the unit vector (1, …, 1)/√d. Least squares does not feel it.

    Raises:
        UserError: a value outside its range, in words.
    """

    d: int
    T: int
    sigma2: float
    regime: str
    iterations: int = 100
    covariance: tuple[tuple[float, ...], ...] | None = None
    ridge: float = 0.0
    w_star: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("d", "T", "iterations"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        theory.check_positive("sigma2", self.sigma2)
        if self.regime not in theory.REGIMES:
            raise UserError(f"regime is {self.regime!r}; the simulation knows {', '.join(theory.REGIMES)}")
        if not (np.isfinite(self.ridge) and self.ridge >= 0):
            raise UserError(f"ridge is {self.ridge}; it must be a finite number, 0 or above")
        if self.d > self.T and self.ridge == 0:
            raise UserError(f"T is {self.T} with d={self.d}; least squares needs T >= d, or a ridge penalty above 0")
        if self.w_star is not None and (len(self.w_star) != self.d or not np.isfinite(self.w_star).all()):
            raise UserError(f"w_star is {self.w_star}; it must hold d={self.d} finite numbers")
        theory.cholesky(self.covariance, self.d)
        # Lists (from a config) and arrays become tuples, so that a setting can be hashed and named.
        if self.covariance is not None:
            object.__setattr__(self, "covariance", tuple(tuple(map(float, row)) for row in self.covariance))
        if self.w_star is not None:
            object.__setattr__(self, "w_star", tuple(map(float, self.w_star)))

    @property
    def factor(self) -> Array:
        """L (d, d), lower triangular, with Σ = LLᵀ."""
        return theory.cholesky(self.covariance, self.d)

    @property
    def target(self) -> Array:
        """w* (d,)."""
        return np.full(self.d, self.d**-0.5) if self.w_star is None else np.array(self.w_star)

    @property
    def label(self) -> str:
        """The setting in the tables' `model` column, e.g. "d=10, T=100, sigma2=1.0"; the regime has its own column."""
        label = f"d={self.d}, T={self.T}, sigma2={float(self.sigma2)}"
        if self.ridge:
            label += f", ridge={float(self.ridge)}"
        for name in ("covariance", "w_star"):
            if getattr(self, name) is not None:
                label += f", {name}={digest(getattr(self, name), 6)}"
        return label


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
    if setting.regime == SUBSAMPLE:
        batch = max(1, BATCH_NUMBERS // (setting.T * max(setting.d, setting.iterations // 10)))
        for start in range(0, len(numbers), batch):
            error[start : start + batch] = _run_subsample(setting, numbers[start : start + batch])
    else:
        run = _run_ridge if setting.ridge else _run_least_squares
        blocks = numbers // LANES
        for block in np.unique(blocks).tolist():
            mine = np.flatnonzero(blocks == block)
            error[mine] = run(setting, block)[numbers[mine] % LANES]
    return Simulation(setting, numbers, error)


def setting_of(settings: Mapping[str, Any]) -> Setting:
    """The setting that one simulation of a study asks for: keys of `data`, `ridge`, `regime` and `iterations`.

    Raises:
        UserError: a value outside its range, in words.
    """
    return Setting(
        d=settings["dimension"],
        T=settings["rows"],
        sigma2=settings["noise_variance"],
        regime=settings["regime"],
        iterations=settings["iterations"],
        covariance=covariance(settings),
        ridge=settings["ridge"],
        w_star=settings["w_star"],
    )


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
        error = subsample_errors(setting, X[None], np.stack(noise)[None] / sigma, np.stack(picks)[None])
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


def subsample_errors(setting: Setting, X: Array, noise: Array, picks: Integers) -> Array:
    """The errors of accumulate-subsample, (seeds, iterations).

    A pick without full column rank (fewer than d distinct rows; possible, and rare) is fitted with the minimum norm,
    as a pseudo-inverse would.

    Args:
        setting: least squares or ridge.
        X: real rows (seeds, T, d).
        noise: ξ, standard normal, (seeds, iterations, T).
        picks: rows of the pool that iteration i trains on, in [0, i·T), (seeds, iterations, T).
    """
    seeds, T, d = X.shape
    iterations = noise.shape[1]
    w_star, factor, penalty = setting.target, setting.factor, setting.ridge * T
    first = (np.arange(seeds) * T)[:, None]
    # What the labels differ by from Xw*: all that least squares needs of them.
    pool = setting.sigma2**0.5 * noise
    away: Array = np.zeros((seeds, d, 1))  # ŵ - w*
    error = np.empty((seeds, iterations))
    for n in range(iterations):
        pool[:, n] += (X @ away)[..., 0]
        pick = picks[:, n]
        values = pool.reshape(-1).take(pick + first * iterations)
        rows = (pick % T + first).ravel()
        count = np.bincount(rows, minlength=seeds * T).reshape(seeds, T)
        total = np.bincount(rows, values.ravel(), seeds * T).reshape(seeds, T)
        weighted = X * np.sqrt(count)[..., None]
        gram = weighted.swapaxes(1, 2) @ weighted
        right = X.swapaxes(1, 2) @ total[..., None]
        if penalty:
            gram += penalty * np.eye(d)
            right -= penalty * w_star[:, None]
            away = np.asarray(np.linalg.solve(gram, right), dtype=np.float64)
        else:
            # Rows are in general position, so the rank is the number of distinct ones.
            thin = np.flatnonzero(np.count_nonzero(count, axis=1) < d)
            gram[thin] = np.eye(d)
            away = np.asarray(np.linalg.solve(gram, right), dtype=np.float64)
            for s in thin:
                away[s, :, 0] = _minimum_norm(X[s], count[s], total[s], w_star)
        error[:, n] = np.sum((factor.T @ away) ** 2, axis=(1, 2))
    return error


def _minimum_norm(X: Array, count: Integers, total: Array, w_star: Array) -> Array:
    """ŵ - w* of the shortest ŵ that fits `count` copies of the rows of X, whose label residuals add up to `total`."""
    kept = np.flatnonzero(count)
    weight = np.sqrt(count[kept])
    A = X[kept] * weight[:, None]
    return np.asarray(np.linalg.lstsq(A, A @ w_star + total[kept] / weight, rcond=None)[0] - w_star)


def _generator(setting: Setting, path: str, block: int, purpose: int) -> np.random.Generator:
    """The stream of one block of seeds (accumulate-subsample: of one seed), for one purpose."""
    identity = digest([setting.d, setting.T, float(setting.sigma2), setting.covariance, path], 32)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([int(identity, 16), block, purpose])))


def _run_least_squares(setting: Setting, block: int) -> Array:
    d = setting.d
    # χ² of k degrees of freedom is twice a gamma of shape k/2.
    shapes = np.r_[setting.T - np.arange(d), d - 1 - np.arange(d - 1)] / 2
    data = _generator(setting, "bidiagonal", block, DATA)
    chi = np.sqrt(2 * data.standard_gamma(shapes[:, None], (2 * d - 1, LANES)))
    noise = _generator(setting, "bidiagonal", block, NOISE).standard_normal((setting.iterations, d, LANES))
    return least_squares_errors(setting, chi[:d], chi[d:], noise).T


def _run_ridge(setting: Setting, block: int) -> Array:
    d, rank = setting.d, min(setting.T, setting.d)
    data = _generator(setting, "triangular", block, DATA)
    R = np.zeros((LANES, rank, d))
    diagonal, above = np.arange(rank), np.triu_indices(rank, 1, d)
    shapes = (setting.T - diagonal) / 2
    R[:, diagonal, diagonal] = np.sqrt(2 * data.standard_gamma(shapes, (LANES, rank)))
    R[:, above[0], above[1]] = data.standard_normal((LANES, len(above[0])))
    noise = _generator(setting, "triangular", block, NOISE).standard_normal((setting.iterations, LANES, rank))
    _, singular, right = np.linalg.svd(R @ setting.factor.T, full_matrices=False)
    return ridge_errors(setting, singular, right.swapaxes(1, 2), noise.swapaxes(0, 1))


def _run_subsample(setting: Setting, seeds: Integers) -> Array:
    T, iterations = setting.T, setting.iterations
    X, noise = np.empty((len(seeds), T, setting.d)), np.empty((len(seeds), iterations, T))
    picks = np.empty((len(seeds), iterations, T), dtype=np.int64)
    for row, seed in enumerate(seeds.tolist()):
        _generator(setting, "rows", seed, DATA).standard_normal(out=X[row])
        _generator(setting, "rows", seed, NOISE).standard_normal(out=noise[row])
        generator = _generator(setting, "rows", seed, PICKS)
        for n in range(iterations):
            picks[row, n] = generator.choice((n + 1) * T, T, replace=False, shuffle=False)
    return subsample_errors(setting, X if setting.covariance is None else X @ setting.factor.T, noise, picks)
