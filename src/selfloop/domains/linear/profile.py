"""Measures of the linear domain's profile: how a fit errs, and how much of its error the next one has."""

import numpy as np

from selfloop.domains.linear.theory import Array
from selfloop.domains.vector_profile import successive


def measures(X: Array, labels: Array, true: Array, before: Array | None) -> tuple[dict[str, float], Array]:
    """Of the fit ŵ that has sampled a part, with its error u = ŵ - w*.

    Args:
        X: the part's inputs (rows, d).
        labels: its labels without their noise, Xŵ (rows,).
        true: w* (d,).
        before: the error of the fit before (d,); None of the first.

    Returns:
        error: ‖u‖; signal: mean square of the labels; and, of the error before, what `successive` says. Beside them u.
    """
    # Also with fewer rows than dimensions: a ridge fit has no part outside of the span of the rows.
    error = np.linalg.lstsq(X, labels, rcond=None)[0] - true
    values = {"error": float(np.linalg.norm(error)), "signal": float(np.mean(labels**2))}
    if before is not None:
        values |= successive(error, before)
    return values, error
