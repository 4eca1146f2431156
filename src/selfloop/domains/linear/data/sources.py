"""The distribution P(Σ, w*, σ²) of section 3.1 that a `data` section describes."""

import numpy as np

from selfloop.domains.linear.config import Distribution
from selfloop.domains.linear.theory import Array, cholesky


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


def target(data: Distribution) -> Array:
    """w* (d,); by default the unit vector (1, …, 1)/√d."""
    d = data.dimension
    return np.full(d, d**-0.5) if data.w_star is None else np.array(data.w_star, dtype=np.float64)
