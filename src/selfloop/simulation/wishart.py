"""Random scatter matrices, by their triangular factors."""

from collections.abc import Callable

import numpy as np

from selfloop.simulation.stacked import Array

Normals = Callable[[np.random.Generator, tuple[int, ...]], Array]


def triangular(
    generator: np.random.Generator,
    count: int,
    d: int,
    T: int,
    normals: Normals = np.random.Generator.standard_normal,
) -> Array:
    """Upper triangular (or, for T < d, trapezoidal) R with the RᵀR of Z (T, d), (count, min(T, d), d).

    By Bartlett's decomposition: χ(T - k) on the diagonal, normals above it.
    """
    rank = min(T, d)
    R = np.zeros((count, rank, d))
    diagonal = np.arange(rank)
    # χ² of k degrees of freedom is twice a gamma of shape k/2.
    R[:, diagonal, diagonal] = np.sqrt(2 * generator.standard_gamma((T - diagonal) / 2, (count, rank)))
    above = normals(generator, (count, rank * d - rank * (rank + 1) // 2))
    begin = 0
    for row in range(rank):
        width = d - 1 - row
        R[:, row, row + 1 :] = above[:, begin : begin + width]
        begin += width
    return R
