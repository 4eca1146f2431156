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

**accumulate-subsample** has no closed form that we know: each iteration's Gram matrix is that of another random
multiset of rows, and noise that was picked before is picked again. Its limit for large T is known
(`subsample_limit` in tests/reference).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selfloop.errors import UserError

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SUBSAMPLE = "accumulate-subsample"


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
    check(d, T, sigma2)
    cholesky(covariance, d)
    return sigma2 * d / (T - d - 1) * growth(regime, iterations)


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
    check(d, T, sigma2)
    return sigma2 * d / (T - d - 1) * np.pi**2 / 6


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
