"""What the paper predicts for linear models: the fit given the noise, its expected test error, and the error's law.

Terms, as in section 3.1: T rows x ~ N(0, Σ) with labels y = x·w* + ε, ε ~ N(0, sigma2), form X (T, d) and Y; the model
of iteration n is least squares; its synthetic labels are Xŵ_n + E_{n+1}, with the same X in every iteration. The test
error is the excess risk ‖ŵ - w*‖²_Σ = (ŵ - w*)ᵀ Σ (ŵ - w*) (eq. 1), in the squared unit of y.

**The fit given the noise.** X† = (XᵀX)⁻¹Xᵀ never changes, so each regime obeys one line, by induction from ŵ_0 = w*:

    replace            ŵ_n = X†(Xŵ_{n-1} + E_n)                          = ŵ_{n-1} + X†E_n
    accumulate         ŵ_n = (1/n) Σ_{i≤n} X†(Xŵ_{i-1} + E_i)            = ŵ_{n-1} + X†E_n / n           (Theorem 1)
    replace-multiple   ŵ_n = (nXᵀX)⁻¹ Σ_{k≤n} Xᵀ(Xŵ_{n-1} + E_{n,k})     = ŵ_{n-1} + X† mean_k E_{n,k}   (appendix E)
    real               ŵ_n = X†(Xw* + E_1), whatever the repetitions      = ŵ_{n-1}; so real-multiple

(accumulate: the mean of the first n-1 terms is ŵ_{n-1}, so ŵ_n = ((n-1)ŵ_{n-1} + ŵ_{n-1} + X†E_n)/n.) The noise of
iteration i thus stays in every later model with a fixed standard deviation β_i relative to the first: 1, 1/i, 1/√i,
and under the two controls 0 from i = 2 on.

**The expected error, for any Σ.** Let Σ = LLᵀ and X = ZLᵀ, so that Z has N(0, 1) entries, and let S be the
sum of E_i, E_i/i or mean_k E_{i,k} over i ≤ n: given Z, S ~ N(0, sigma2 c_n I_T) with c_n = Σ_{i≤n} β_i². Then
Lᵀ(ŵ_n - w*) = LᵀX†S = Lᵀ(LZᵀZLᵀ)⁻¹LZᵀS = (ZᵀZ)⁻¹ZᵀS: Σ has dropped out of the error, not only of its mean, and so has
w*. Given Z this is N(0, sigma2 c_n (ZᵀZ)⁻¹), and E (ZᵀZ)⁻¹ = I/(T - d - 1) by Lemma 3. So for any positive definite Σ

    E‖ŵ_n - w*‖²_Σ = sigma2 c_n E tr (ZᵀZ)⁻¹ = sigma2 c_n d/(T - d - 1),

which the paper states for Σ = I (eqs. 3, 4, 11). The mean is infinite for T < d + 2.

**The law of the error.** Write it sᵀ(ZᵀZ)⁻¹s with s ~ N(0, sigma2 c_n I_d) independent of Z. For a Wishart matrix W and
an independent s, sᵀs / sᵀW⁻¹s ~ χ²(T - d + 1), independent of s (Muirhead 1982, Theorem 3.2.12). So at each iteration

    ‖ŵ_n - w*‖²_Σ  ~  sigma2 c_n · χ²(d) / χ²(T - d + 1),       the two independent,

which gives the standard error that a mean over seeds should have, and says where moments end: the k-th exists for
T - d + 1 > 2k. Errors of different iterations of one seed are strongly dependent.

**Ridge** shrinks the signal, so the error depends on w* and Σ. With X = U diag(s) Vᵀ and a_n = Vᵀŵ_n, a fit with the
penalty λ per row is a_n = m_n a_{n-1} + β_n g sigma ξ_n coordinate by coordinate, where k = s²/(s² + λT),
g = s/(s² + λT), m_n = 1 - share_n (1 - k), a_0 = Vᵀw* and ξ_n = UᵀE_n/sigma. The noise is independent of X, hence

    E‖ŵ_n - w*‖²_Σ = E_X [ ‖V(Π_{i≤n} m_i - 1)Vᵀw*‖²_Σ + sigma2 Σ_j ‖v_j‖²_Σ g_j² Σ_{i≤n} β_i² Π_{i<l≤n} m_{l,j}² ],

where only the mean over X is left to average (`ridge_error`). The mean exists for all T ≥ 1.

**accumulate-subsample** has no closed form that we know: each iteration's Gram matrix is that of another random
multiset of rows, and noise that was picked before is picked again. `subsample_limit` is its limit for large T, and
`subsample_approximation` a heuristic for finite T.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from selfloop.errors import UserError
from selfloop.simulation.wishart import triangular

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SUBSAMPLE = "accumulate-subsample"
# Of the average over X: enough for 1% unless T is close to d and the penalty tiny, and few seconds of singular values.
SPECTRA = (200, 10_000)
SPECTRA_WORK = 2e8  # draws times d³


@dataclass(frozen=True)
class Update:
    """How a regime's training set of iteration n is renewed; both take iterations (N,) counted from 1, as floats.

    Attributes:
        share: the fraction of the training set that the previous model has just sampled.
        copies: how often X is stacked for that fraction, each copy with its own noise.
    """

    share: Callable[[Array], Array]
    copies: Callable[[Array], Array]


def _first_alone(n: Array) -> Array:
    return np.asarray(n == 1, dtype=np.float64)


UPDATES: Mapping[str, Update] = {
    "replace": Update(share=np.ones_like, copies=np.ones_like),
    "accumulate": Update(share=np.reciprocal, copies=np.ones_like),
    "replace-multiple": Update(share=np.ones_like, copies=np.copy),
    "real": Update(share=_first_alone, copies=np.ones_like),
    "real-multiple": Update(share=_first_alone, copies=np.ones_like),
}
REGIMES = (*UPDATES, SUBSAMPLE)


def update_of(regime: str) -> Update:
    """The formula of a regime.

    Raises:
        UserError: the regime has none.
    """
    if regime not in UPDATES:
        known = "its rows and noise repeat across iterations at random"
        why = known if regime == SUBSAMPLE else "it is not known here"
        raise UserError(
            f"regime {regime!r} has no closed form ({why}); formulas exist for {', '.join(UPDATES)}. "
            "The simulation needs none."
        )
    return UPDATES[regime]


def check_positive(name: str, value: float) -> None:
    """Refuse a value that is not a finite number above zero, by name.

    Raises:
        UserError: it is not.
    """
    if not (np.isfinite(value) and value > 0):
        raise UserError(f"{name} is {value}; it must be a finite number above 0")


def check_iterations(iterations: int) -> None:
    """Refuse less than one iteration.

    Raises:
        UserError: there are fewer.
    """
    if iterations < 1:
        raise UserError(f"iterations is {iterations}; it must be 1 or more")


def cholesky(covariance: npt.ArrayLike | None, d: int) -> Array:
    """The lower triangular L (d, d) with Σ = LLᵀ; None stands for the identity.

    Raises:
        UserError: Σ is not a symmetric positive definite (d, d) matrix.
    """
    if covariance is None:
        return np.eye(d)
    matrix = np.asarray(covariance, dtype=np.float64)
    if matrix.shape != (d, d):
        raise UserError(f"Sigma has shape {matrix.shape}; for d={d} it must be ({d}, {d})")
    if not (np.isfinite(matrix).all() and np.allclose(matrix, matrix.T, rtol=1e-12, atol=0.0)):
        raise UserError("Sigma is not a symmetric matrix of finite numbers; it must be symmetric and positive definite")
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    # Below this, the smallest eigenvalue is rounding error, and so would be everything divided by it.
    if smallest <= d * np.finfo(np.float64).eps * float(np.abs(matrix).max()):
        raise UserError(f"Sigma is not positive definite: its smallest eigenvalue {smallest:.3g} must be above 0")
    return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)


def noise_weights(regime: str, iterations: int) -> Array:
    """β (iterations,): the standard deviation with which iteration i's noise enters ŵ_i and stays, over iteration 1's.

    Raises:
        UserError: the regime has no formula; there is no iteration.
    """
    update = update_of(regime)
    check_iterations(iterations)
    n = np.arange(1.0, iterations + 1)
    return update.share(n) / np.sqrt(update.copies(n))


def growth(regime: str, iterations: int) -> Array:
    """c (iterations,): c_n = Σ_{i≤n} β_i²; n (eq. 4), Σ 1/i² (eq. 3), Σ 1/i (eq. 11), and 1 without synthetic rows.

    Raises:
        UserError: as `noise_weights`.
    """
    return np.cumsum(noise_weights(regime, iterations) ** 2)


def expected_error(
    regime: str, d: int, T: int, sigma2: float, iterations: int, covariance: npt.ArrayLike | None = None
) -> Array:
    """E‖ŵ_n - w*‖²_Σ for n = 1 … iterations: sigma2 d/(T-d-1) · c_n (eqs. 4, 3, 11), shape (iterations,).

    The value does not depend on Σ (proof above), which is only checked.

    Raises:
        UserError: T < d + 2, sigma2 ≤ 0, Σ not positive definite, a regime without a formula, no iteration.
    """
    cholesky(covariance, d)
    return first_error(d, T, sigma2) * growth(regime, iterations)


def first_error(d: int, T: int, sigma2: float) -> float:
    """E‖ŵ_1 - w*‖²_Σ = sigma2 d/(T - d - 1), the same under every regime.

    Raises:
        UserError: T < d + 2 or sigma2 ≤ 0.
    """
    check(d, T, sigma2)
    return sigma2 * d / (T - d - 1)


def error_deviation(regime: str, d: int, T: int, sigma2: float, iterations: int) -> Array:
    """The standard deviation over seeds of ‖ŵ_n - w*‖²_Σ, shape (iterations,); infinite for T < d + 4.

    From the law sigma2 c_n χ²(d)/χ²(m), m = T - d + 1: variance (sigma2 c_n)² · [d(d+2)/((m-2)(m-4)) - d²/(m-2)²].

    Raises:
        UserError: as `expected_error`.
    """
    check(d, T, sigma2)
    scale = sigma2 * growth(regime, iterations)
    m = T - d + 1
    if m <= 4:
        return np.full(iterations, np.inf)
    spread: Array = scale * np.sqrt(d * (d + 2) / ((m - 2) * (m - 4)) - (d / (m - 2)) ** 2)
    return spread


def accumulate_bound(d: int, T: int, sigma2: float) -> float:
    """What the accumulate curve never passes: sigma2 d/(T-d-1) · π²/6 (Theorem 2).

    Raises:
        UserError: T < d + 2 or sigma2 ≤ 0.
    """
    return first_error(d, T, sigma2) * np.pi**2 / 6


def check(d: int, T: int, sigma2: float) -> None:
    """Validate the arguments of a formula.

    Raises:
        UserError: d < 1, T < d + 2 or sigma2 ≤ 0.
    """
    if d < 1:
        raise UserError(f"d is {d}; it must be 1 or more")
    check_positive("sigma2", sigma2)
    if d + 2 > T:
        raise UserError(
            f"T is {T} with d={d}; a theory curve needs T >= d+2 = {d + 2}, because below that the "
            "expected error is infinite. The simulation alone needs T >= d."
        )


LAW_DRAWS = 200_000  # the 5% quantile is then accurate to 2%, invisible in a figure


@lru_cache(maxsize=100)
def error_ratios(d: int, T: int) -> Array:
    """A fixed sample of χ²(d)/χ²(T-d+1), the law of the error of least squares over sigma2 c_n, (LAW_DRAWS,)."""
    generator = np.random.default_rng([d, T])
    return np.asarray(generator.chisquare(d, LAW_DRAWS) / generator.chisquare(T - d + 1, LAW_DRAWS))


def ridge_error(
    regime: str,
    d: int,
    T: int,
    sigma2: float,
    ridge: float,
    iterations: int,
    covariance: npt.ArrayLike | None = None,
    w_star: npt.ArrayLike | None = None,
) -> Array:
    """E‖ŵ_n - w*‖²_Σ under a penalty `ridge` > 0 per row, shape (iterations,).

    Exact given X (see above), and averaged over a fixed sample of X; for Σ = I also over its rotations, exactly.

    Args:
        w_star: (d,); None for the unit vector (1, …, 1)/√d.

    Raises:
        UserError: sigma2 or ridge ≤ 0, Σ not positive definite, a regime without a formula, no iteration.
    """
    check_positive("sigma2", sigma2)
    check_positive("ridge", ridge)
    L = cholesky(covariance, d)
    target = np.full(d, d**-0.5) if w_star is None else np.asarray(w_star, dtype=np.float64)
    weights = noise_weights(regime, iterations)
    share = update_of(regime).share(np.arange(1.0, iterations + 1))
    rotated = covariance is None
    squares, basis = _spectra(d, T, None if rotated else tuple(map(tuple, L.tolist())))
    keep, gain2 = squares / (squares + ridge * T), squares / (squares + ridge * T) ** 2
    if not rotated:
        weighted = np.swapaxes(basis, 1, 2) @ L  # rows v_jᵀL
        size, signal = (weighted**2).sum(axis=2), target @ basis
    left, variance = np.ones_like(keep), np.zeros_like(keep)
    error = np.empty(iterations)
    for n in range(iterations):
        factor = 1 - share[n] * (1 - keep)
        left *= factor
        variance = factor**2 * variance + weights[n] ** 2 * gain2
        if rotated:  # the mean of (v_jᵀw*)² is ‖w*‖²/d
            lost, noise = (left - 1) ** 2 * (target @ target / d), variance
        else:
            lost, noise = (((left - 1) * signal)[:, None, :] @ weighted)[:, 0] ** 2, variance * size
        error[n] = (lost + sigma2 * noise).sum(axis=1).mean()
    return error


@lru_cache(maxsize=4)
def _spectra(d: int, T: int, factor: tuple[tuple[float, ...], ...] | None) -> tuple[Array, Array]:
    """Squared singular values (draws, d) and right singular vectors (draws, d, d) of random X = ZLᵀ, a fixed sample.

    Args:
        factor: L; None for the identity, of which no vectors are returned.
    """
    draws = int(np.clip(SPECTRA_WORK / d**3, *SPECTRA))
    generator = np.random.default_rng([d, T])
    rank = min(T, d)
    R = triangular(generator, draws, d, T)
    if factor is None:
        singular = np.linalg.svd(R, compute_uv=False)
        basis = np.empty((draws, d, 0))
    else:
        _, singular, right = np.linalg.svd(R @ np.array(factor).T)
        basis = right.swapaxes(1, 2)
    squares = np.zeros((draws, d))
    squares[:, :rank] = singular**2
    return squares, basis


def subsample_limit(d: int, T: int, sigma2: float, iterations: int) -> Array:
    """What accumulate-subsample's error tends to as T grows with d fixed, shape (iterations,). Exact at n = 1 only.

    To leading order in 1/T all Gram matrices are TΣ, so û_n = ŵ_n - w* obeys û_n = (1/n) Σ_{i<n} û_i + ξ_n (û_0 = 0):
    the pool's mean prediction plus the mean noise of the picked rows. A row picked at iteration k is in the pick of a
    later l with probability 1/l, so Var ξ_k = sigma2Σ⁻¹/T and Cov(ξ_k, ξ_l) = Var/l for k < l. The recursion solves to
    û_n = ξ_n + Σ_{k<n} ξ_k/(k+1), and E‖û_n‖²_Σ → sigma2 d/(T-d-1) · a_n with, H the harmonic numbers,

        a_n = 1 + Σ_{k<n} 1/(k+1)² + 2(H_n - 1)/n + 2 Σ_{l<n} (H_l - 1)/(l(l+1))   →   π²/2 - 2 = 2.93…

    (T-d-1 for T keeps the limit, makes n = 1 exact, and n > 1 closer.) So a fixed budget of the accumulated pool does
    not collapse either; it ends near 1.8 times accumulate's plateau. At finite T the error is larger, as a pick of T
    rows holds only about 0.63 T distinct ones (`subsample_approximation`), and its mean over seeds is not even finite:
    from iteration T/(d+1) on, a pick may hold just d+1 distinct rows or fewer, however rarely.

    Raises:
        UserError: T < d + 2, sigma2 ≤ 0, no iteration.
    """
    check(d, T, sigma2)
    check_iterations(iterations)
    n = np.arange(1.0, iterations + 1)
    harmonic = np.cumsum(1 / n)
    # Sums over k < n: the term of index n counts from the next iteration on.
    earlier = np.cumsum(1 / (n + 1) ** 2 + 2 * (harmonic - 1) / (n * (n + 1)))
    limit: Array = sigma2 * d / (T - d - 1) * (1 + np.r_[0.0, earlier[:-1]] + 2 * (harmonic - 1) / n)
    return limit


def subsample_approximation(d: int, T: int, iterations: int) -> Array:
    """About how many times its first value accumulate-subsample's error is, shape (iterations,); a heuristic, no law.

    The large-T limit times η₁/η_n. To first order the Gram matrix of T rows with multiplicities c acts as η T Σ, η the
    root of η = E[c/(1 + cφ/η)] with φ = (d+1)/T; iteration 1 has c = 1 and η₁ = 1 - φ, which is eq. 3's T - d - 1.
    At iteration n, c is Binomial(n, 1/n), Poisson(1) in the long run. Medians over seeds lie within a tenth of it for
    T ≥ 3d and T ≥ 30; it is poor for fewer rows.

    Raises:
        UserError: T < d + 2, no iteration.
    """
    limit = subsample_limit(d, T, 1.0, iterations)
    roots = np.array([_eta((d + 1) / T, n) for n in range(1, iterations + 1)])
    return np.asarray(limit / limit[0] * roots[0] / roots)


def _eta(phi: float, n: int) -> float:
    """The root of η = E[c/(1 + cφ/η)], c ~ Binomial(n, 1/n), by iteration from above."""
    c = np.arange(min(n, 30) + 1.0)  # larger multiplicities have a probability below 1e-32
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - k * math.log(n) for k in c]
    chances = np.exp(logs) * (1 - 1 / n) ** (n - c)
    eta = 1.0
    for _ in range(10_000):
        previous, eta = eta, float(chances @ (c / (1 + c * phi / eta)))
        if previous - eta < 1e-12:
            break
    return eta
