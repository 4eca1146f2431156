"""Stacks of covariances by their triangular factors: large matrices one by one, in half the operations; small at once.

Symmetric matrices are known by their upper triangles, what is below is not read.
"""

import numpy as np
from scipy.linalg import blas, lapack

from selfloop.simulation.stacked import Array

LARGE = 24  # rows of a matrix for which a call of its own pays


def times(X: Array, R: Array) -> Array:
    """X R for matrices X (seeds, N, r) and upper triangular or trapezoidal R (seeds, r, d); X may be overwritten."""
    R = R.astype(X.dtype, copy=False)
    if R.shape[1] < max(R.shape[2], LARGE):
        return np.asarray(X @ R)
    trmm = blas.strmm if X.dtype == np.float32 else blas.dtrmm
    for own, factor in zip(X, R, strict=True):
        trmm(1.0, factor.T, own.T, lower=1, overwrite_b=1)  # by columns, as BLAS reads them: Rᵀ Xᵀ
    return X


def add_products(scatter: Array, X: Array, weight: float = 1.0) -> None:
    """Add weight · XᵀX of matrices X (seeds, N, d) to `scatter` (seeds, d, d)."""
    if X.shape[2] < LARGE:
        scatter += weight * (X.swapaxes(1, 2) @ X)
        return
    for total, own in zip(scatter, X, strict=True):
        blas.dsyrk(weight, own.T, beta=1.0, c=total.T, lower=1, overwrite_c=1)


def factored(covariance: Array) -> Array:
    """The upper triangular R with RᵀR = `covariance` (seeds, d, d), which may be overwritten.

    Raises:
        LinAlgError: a matrix is not positive definite.
    """
    if covariance.shape[2] < LARGE:
        return np.asarray(np.linalg.cholesky(covariance, upper=True))
    for own in covariance:
        if lapack.dpotrf(own.T, lower=1, overwrite_a=1)[1]:
            raise np.linalg.LinAlgError("a covariance is not positive definite")
    return covariance
