"""The linear loop at scale: all seeds of a scenario vectorised, and no training set ever stacked.

Algebra (terms and proofs: `theory`):

- Least squares under replace, accumulate and replace-multiple: with X = ZLᵀ and Z = UBVᵀ, B upper bidiagonal,
  ‖ŵ_n - w*‖²_Σ = ‖B⁻¹ Σ_{i≤n} sigma β_i ξ_i‖² where ξ_i = UᵀE_i/sigma is N(0, I_d). Row k = 0 … d-1 of B holds χ(T-k)
  on the diagonal and χ(d-1-k) beside it, all independent (Householder's reduction of a Gaussian matrix); V cancels.
  So instead of X and T noise values, 2d-1 chi variables and d normals per iteration are drawn: O(d) work.
- Ridge needs Σ, w* and V. A triangular factor R of ZᵀZ is drawn by its Bartlett decomposition; in the singular basis of
  RLᵀ the recursion is one multiplication per coordinate and iteration.
- Other regimes of whole parts mix the noises of their parts with coefficients that follow from their tables
  (`simulation.law`), and take the same few variables; where rows are drawn, they run row by row (`regressions`).
- accumulate-subsample has no such form: rows and noise recur in changing multiplicities; see `subsample`.

Every path takes its random numbers as arguments of one inner function, so that tests can feed it recorded X and noise
and compare it with a direct loop, value by value (tests/reference).

Random streams derive from (d, T, sigma2, Σ; seed; purpose) by SeedSequence. A generator per seed would dominate the run
time, so seeds draw in blocks: with 100 lanes, seed s is lane s mod 100 of block s//100, and a block is always drawn
whole. A seed's values thus do not depend on the other seeds of the call, and a longer run begins with the values of a
shorter one. Regimes other than accumulate-subsample share a seed's X and unit noise, so that iteration 1 is the same in
each, as in the loop; scenarios that differ in d, T, sigma2 or Σ share nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfloop.domains.linear import theory
from selfloop.domains.linear.simulation import regressions, subsample
from selfloop.domains.linear.simulation.scenario import DATA, NOISE, Scenario, generator
from selfloop.domains.linear.theory import SUBSAMPLE, Array, Integers
from selfloop.errors import UserError
from selfloop.simulation import law
from selfloop.simulation.wishart import triangular

LANES = 100  # seeds per block; larger blocks would be wasted on studies of fewer seeds


@dataclass(frozen=True)
class Simulation:
    """The test errors of one scenario.

    Attributes:
        scenario: what was simulated.
        seeds: (seeds,).
        error: ‖ŵ_n - w*‖²_Σ, shape (seeds, iterations), iteration n in column n - 1.
    """

    scenario: Scenario
    seeds: Integers
    error: Array


def simulate(scenario: Scenario, seeds: Sequence[int]) -> Simulation:
    """Result every seed of a scenario.

    Raises:
        UserError: seeds missing, repeated or negative.
    """
    numbers = np.array(seeds, dtype=np.int64)
    if len(numbers) == 0 or numbers.min() < 0 or len(np.unique(numbers)) < len(numbers):
        raise UserError("seeds must be at least one, none negative, and all different")
    error = np.empty((len(numbers), scenario.iterations))
    width = lanes(scenario)
    for block in np.unique(numbers // width).tolist():
        rows = np.flatnonzero(numbers // width == block)
        lane = numbers[rows] % width
        if scenario.sets is not None and (scenario.ridge or not scenario.whole):
            error[rows] = regressions.run_block(scenario, block, width)[lane]
        elif scenario.regime == SUBSAMPLE:
            error[rows] = subsample.run_block(scenario, block, lane)
        else:
            error[rows] = (_run_ridge if scenario.ridge else _run_least_squares)(scenario, block)[lane]
    return Simulation(scenario, numbers, error)


def lanes(scenario: Scenario) -> int:
    """Seeds per block."""
    if scenario.sets is not None and (scenario.ridge or not scenario.whole):
        return regressions.lanes(scenario)
    return subsample.lanes(scenario.T) if scenario.regime == SUBSAMPLE else LANES


def least_squares_errors(scenario: Scenario, diagonal: Array, above: Array, noise: Array) -> Array:
    """‖B⁻¹ Σ_{i≤n} sigma β_i ξ_i‖² by back substitution, (iterations, seeds); seeds are the last, contiguous axis.

    Args:
        scenario: a regime of whole parts, and no ridge.
        diagonal: of B, (d, seeds).
        above: the entries above it, (d - 1, seeds).
        noise: ξ, standard normal, (noises, d, seeds), one per iteration where the regime has a formula; overwritten.
    """
    if scenario.sets is None:
        noise *= theory.noise_weights(scenario.regime, len(noise))[:, None, None]
        summed = np.cumsum(noise, axis=0, out=noise)
    else:
        summed = np.tensordot(_mixture(scenario), noise, 1)
    x = summed[:, -1] / diagonal[-1]
    error = x * x
    for k in range(scenario.d - 2, -1, -1):
        x *= -above[k]
        x += summed[:, k]
        x /= diagonal[k]
        error += x * x
    error *= scenario.sigma2
    return np.asarray(error)


def ridge_errors(scenario: Scenario, singular: Array, basis: Array, noise: Array) -> Array:
    """The errors under ridge, (seeds, iterations), for r = min(T, d) singular values of X.

    With X = U diag(s) Vᵀ and a_n = Vᵀŵ_n, fitting a fresh part gives s²/(s²+λT)·a_{n-1} + s/(s²+λT)·sigma·ξ; a regime
    mixes that with what the older rows give, a_{n-1} itself (penalty per row: the same resolvent in each iteration).

    Args:
        scenario: a regime with a formula.
        singular: s, (seeds, r).
        basis: V, (seeds, d, r).
        noise: ξ, standard normal, (seeds, iterations, r).
    """
    n = np.arange(1.0, noise.shape[1] + 1)
    share = theory.update_of(scenario.regime).share(n)
    weights = theory.noise_weights(scenario.regime, noise.shape[1])
    denominator = singular**2 + scenario.ridge * scenario.T
    keep, gain = singular**2 / denominator, scenario.sigma2**0.5 * singular / denominator
    fit = np.empty_like(noise)
    a = scenario.target @ basis
    for i in range(noise.shape[1]):
        a = (1 - share[i] + share[i] * keep) * a + weights[i] * gain * noise[:, i]
        fit[:, i] = a
    # Row vectors: ‖ŵ - w*‖²_Σ = ‖(ŵ - w*)ᵀL‖².
    away = (fit @ basis.swapaxes(1, 2) - scenario.target) @ scenario.factor
    return np.asarray(np.einsum("snd,snd->sn", away, away))


def _run_least_squares(scenario: Scenario, block: int) -> Array:
    d = scenario.d
    # χ² of k degrees of freedom is twice a gamma of shape k/2.
    shapes = np.r_[scenario.T - np.arange(d), d - 1 - np.arange(d - 1)] / 2
    data = generator(scenario, "bidiagonal", block, DATA)
    chi = np.sqrt(2 * data.standard_gamma(shapes[:, None], (2 * d - 1, LANES)))
    noises = scenario.iterations if scenario.sets is None else _mixture(scenario).shape[1]
    noise = generator(scenario, "bidiagonal", block, NOISE).standard_normal((noises, d, LANES))
    return least_squares_errors(scenario, chi[:d], chi[d:], noise).T


def _mixture(scenario: Scenario) -> Array:
    """The coefficients of the parts' noises in every model, (iterations, noises)."""
    assert scenario.sets is not None
    return law.law(scenario.sets, law.Fit(scenario.T, known=True)).weights


def _run_ridge(scenario: Scenario, block: int) -> Array:
    rank = min(scenario.T, scenario.d)
    R = triangular(generator(scenario, "triangular", block, DATA), LANES, scenario.d, scenario.T)
    noise = generator(scenario, "triangular", block, NOISE).standard_normal((scenario.iterations, LANES, rank))
    _, singular, right = np.linalg.svd(R @ scenario.factor.T, full_matrices=False)
    return ridge_errors(scenario, singular, right.swapaxes(1, 2), noise.swapaxes(0, 1))
