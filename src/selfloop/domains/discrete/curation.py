"""The exact law of curation: what a filter by rewards makes of a distribution, if samples are many.

Candidates are drawn from p; a row of type i with the reward r_i is kept with a weight w_i = exp(beta·r_i).

- Of each row's K candidates one is drawn by weight: p'_i = K p_i E[w_i / (w_i + W)], with W the weights of K - 1 others
  (Ferbach et al. 2024); as K → ∞, p'_i ∝ p_i w_i.
- Of K·N candidates together N are drawn by weight, none twice: the N earliest of exponential clocks with rates w_i, so
  p'_i = K p_i (1 - exp(-w_i τ)), with τ so that p' adds up to 1; as K → ∞ the same.
- The best of each row's K candidates: the order statistic of its reward. Of K·N together the best N: the highest
  rewards, whose candidates fill 1/K.
- A verifier that errs about a share e of the rows gives them the rewards of others: (1 - e) p' + e p.
"""

import math
from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel
from scipy.optimize import brentq

from selfloop.domains.discrete.rows import Array

TINY, STEP = 1e-18, 0.05  # of the quadrature: where it begins, and its steps in log t


class Curation(BaseModel):
    """A filter by rewards, as in the config."""

    rewards: Mapping[str, float]
    keep: str
    each: bool
    candidates: int
    beta: float
    noise: float

    def of(self, types: list[str]) -> Array:
        """The rewards of types, (types,)."""
        return np.array([self.rewards.get(word, 0.0) for word in types])


def curated(p: Array, rewards: Array, how: Curation) -> Array:
    """The distribution of the rows that a filter keeps (types,), of candidates with probabilities p (types,).

    Raises:
        ValueError: rows are kept in another way than `highest`, `lowest` or `drawn`.
    """
    levels, places = np.unique(rewards, return_inverse=True)
    mass: Array = np.bincount(places, weights=p, minlength=len(levels)).astype(np.float64)
    factor: Array = np.ones(len(levels))  # how much more often a type is kept than sampled, by the level of its reward
    if how.keep == "drawn":
        weights = np.exp(how.beta * (levels - levels.max()))
        factor = (_drawn_of_each if how.each else _drawn_of_all)(mass, weights, how.candidates)
    elif how.keep in ("highest", "lowest"):
        order = slice(None) if how.keep == "highest" else slice(None, None, -1)
        factor[order] = (_best_of_each if how.each else _best_of_all)(mass[order], how.candidates)
    else:
        raise ValueError(f"no law of keep: {how.keep}")
    return np.asarray(p * ((1 - how.noise) * factor[places] + how.noise))


def _drawn_of_each(mass: Array, weights: Array, candidates: int) -> Array:
    """K E[w / (w + W)] = K ∫ w exp(-w t) φ(t)^(K-1) dt, with φ(t) = E exp(-w t).

    Of weights whose largest is 1, by the trapezoidal rule in log t. Its error is below rounding: the integrand is
    smooth and vanishes at both ends.
    """
    t = np.exp(np.arange(math.log(TINY / candidates), math.log(50 / float(weights.min())), STEP))
    powers = np.exp(-t[:, None] * weights)
    rest = t * (powers @ mass) ** (candidates - 1)
    return np.asarray(STEP * candidates * weights * (rest @ powers))


def _drawn_of_all(mass: Array, weights: Array, candidates: int) -> Array:
    """K (1 - exp(-w τ)), of weights whose largest is 1; ln τ is found by Brent's method."""

    def kept(log_tau: float) -> Array:
        return np.asarray(-np.expm1(-weights * math.exp(log_tau)))

    low, high = -math.log(candidates) - 1, -math.log(weights.min())
    while mass @ kept(high) < 1 / candidates:
        high += 1
    found = brentq(lambda log_tau: mass @ kept(log_tau) - 1 / candidates, low, high, xtol=1e-14)
    return np.asarray(candidates * kept(found))


def _best_of_each(mass: Array, candidates: int) -> Array:
    """Of the levels in ascending order: (F(l)^K - F(l-)^K) / p(l)."""
    above = np.cumsum(mass).clip(max=1.0)
    share = np.diff(np.append(0.0, above) ** candidates)
    return np.asarray(np.divide(share, mass, out=np.zeros_like(mass), where=mass > 0))


def _best_of_all(mass: Array, candidates: int) -> Array:
    """Of the levels in ascending order: K for those that are kept whole, less for the one that the cut goes through."""
    higher = mass[::-1].cumsum()[::-1] - mass
    share = (1 / candidates - higher).clip(0.0, mass)
    return np.asarray(candidates * np.divide(share, mass, out=np.zeros_like(mass), where=mass > 0))
