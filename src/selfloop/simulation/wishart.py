"""Random scatter matrices, by their triangular factors."""

import numpy as np

from selfloop.simulation.stacked import Array


def triangular(generator: np.random.Generator, count: int, d: int, T: int) -> Array:
    """Upper triangular (or, for T < d, trapezoidal) R with the RᵀR of Z (T, d), (count, min(T, d), d).

    By Bartlett's decomposition: χ(T - k) on the diagonal, normals above it.
    """
    rank = min(T, d)
    R = np.zeros((count, rank, d))
    diagonal, above = np.arange(rank), np.triu_indices(rank, 1, d)
    # χ² of k degrees of freedom is twice a gamma of shape k/2.
    R[:, diagonal, diagonal] = np.sqrt(2 * generator.standard_gamma((T - diagonal) / 2, (count, rank)))
    R[:, above[0], above[1]] = generator.standard_normal((count, len(above[0])))
    return R
