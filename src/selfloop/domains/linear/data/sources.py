"""The distribution P(Σ, w*, σ²) of section 3.1 that a `data` section describes."""

import numpy as np

from selfloop.domains.linear.config import Data, Distribution
from selfloop.domains.linear.theory import Array, cholesky
from selfloop.identity import digest, stream


def covariance(data: Distribution) -> tuple[tuple[float, ...], ...] | None:
    """Σ as nested rows, or None for the identity: `data.covariance`, or diag(1, 2⁻ᵃ, 3⁻ᵃ, …) with a = `data.decay`."""
    if data.covariance is not None:
        return tuple(tuple(map(float, row)) for row in data.covariance)
    if not data.decay:
        return None
    spectrum = np.arange(1.0, data.dimension + 1) ** -data.decay
    return tuple(map(tuple, np.diag(spectrum).tolist()))


def factor(data: Distribution) -> Array:
    """L (d, d), lower triangular, with Σ = LLᵀ.

    Raises:
        UserError: Σ is not a symmetric positive definite (d, d) matrix.
    """
    return cholesky(covariance(data), data.dimension)


def reserved(data: Data) -> int:
    """How many rows the reserve has."""
    return round(data.reserve * data.rows)


def real_noise(data: Data, seed: int) -> Array:
    """E₁ (T,): the noise in the real labels of the chains of a seed, the same for all their regimes and iterations.

    That of the rows of the reserve, which are numbered after those to train on, follows.
    """
    streams = digest([data.without("reserve").plain, seed])
    counts = {"real noise": data.rows, "reserve noise": reserved(data)}
    generators = {purpose: np.random.default_rng(stream(streams, purpose)) for purpose in counts}
    scale = data.noise_variance**0.5
    return np.concatenate([generators[name].normal(scale=scale, size=count) for name, count in counts.items()])


def target(data: Distribution) -> Array:
    """w* (d,); by default the unit vector (1, …, 1)/√d."""
    d = data.dimension
    return np.full(d, d**-0.5) if data.w_star is None else np.array(data.w_star, dtype=np.float64)
