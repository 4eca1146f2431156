"""What is expected of the Gaussian loop, where that is known."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import digamma, gammaln

from selfloop.data.regimes import TrainingSet
from selfloop.domains.gaussian.config import Chains
from selfloop.simulation.law import Array, Fit, has_law, law


def expected(chains: Chains, sets: Sequence[TrainingSet], first: Mapping[str, float] | None) -> dict[str, Array]:
    """By metric, the expected value (iterations,).

    The mean's squared error and the variance have a law under every regime (`simulation.law`). Where each model is
    fitted to one part of the one before, the covariance is a product of independent Wishart factors W_i/n of n - 1
    degrees of freedom, so that the standard deviation and the determinant's logarithm have one, too:

        E sd_t = sd_0 (√(2/n) Γ(n/2)/Γ((n-1)/2))^t,      E ln det Σ_t = ln det Σ_0 + t Σ_{i≤d} (ψ((n-i)/2) + ln(2/n)),

    with n - 1 for n in √(2/n) and ln(2/n) where the estimate is unbiased: then E sd_t = c₄(n)^t sd_0, although E sd²
    stays.

    Args:
        chains: the setting.
        sets: training sets from iteration 1 on.
        first: what model 1 measures, if it is the same for all seeds: the real rows are given.
    """
    given = first is not None
    if not has_law(sets) or (given and any(take.fresh for one in sets for take in one.takes)):
        return {}
    known, unbiased = chains.covariance == "known", chains.covariance == "unbiased"
    n, d = chains.rows, chains.dimension
    fit = Fit(n, known=known, unbiased=unbiased, scale=chains.temperature, given=given)
    moments = law(sets, fit)
    unit = 1.0 if first is None else first["variance"]
    offset = 0.0 if first is None else first["mean_error"]
    found = {"mean_error": offset + unit * moments.mean, "variance": unit * moments.variance}
    if known or not _replaces(sets):
        return found
    divisor = n - 1 if unbiased else n
    steps = np.arange(len(sets), dtype=np.float64)
    drawn = steps if given else steps + 1
    shrink = 0.5 * np.log(2 / divisor) + gammaln(n / 2) - gammaln((n - 1) / 2)
    found["deviation"] = np.exp(drawn * shrink + steps * 0.5 * np.log(chains.temperature))
    if given:
        assert first is not None
        found["deviation"] *= first["deviation"]
    if n > d:
        factor = float(np.mean(digamma((n - np.arange(1, d + 1)) / 2)) + np.log(2 / divisor))
        found["log_determinant"] = drawn * factor + steps * np.log(chains.temperature)
        if first is not None and "log_determinant" in first:
            found["log_determinant"] += first["log_determinant"]
    return found


def _replaces(sets: Sequence[TrainingSet]) -> bool:
    """Whether each model is fitted to one part of the one before."""
    return all(
        len(one.takes) == 1 and one.takes[0].amount == 1 and one.takes[0].iteration == n and not one.takes[0].fresh
        for n, one in enumerate(sets)
    )
