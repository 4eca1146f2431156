"""Stacks of covariances by their triangular factors, large and small ones."""

from typing import Any

import numpy as np
import pytest

from selfloop.simulation.factors import LARGE, add_products, factored, times

SEEDS = 3


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal((SEEDS, *shape))


@pytest.mark.parametrize("d", [1, 3, LARGE, LARGE + 5])
@pytest.mark.parametrize("rank", ["square", "fewer rows"])
@pytest.mark.parametrize(("dtype", "precision"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_a_product_with_a_triangular_factor_is_numpy_s(d: int, rank: str, dtype: Any, precision: float) -> None:
    r = d if rank == "square" else (d + 1) // 2
    X, R = normal(7, r).astype(dtype), np.triu(normal(r, d))
    expected = X @ R
    assert times(X.copy(), R) == pytest.approx(expected, rel=precision, abs=precision)


@pytest.mark.parametrize("d", [1, 3, LARGE, LARGE + 5])
def test_products_are_added_to_the_upper_triangle_and_factored(d: int) -> None:
    scatter, X = np.tile(np.eye(d), (SEEDS, 1, 1)), normal(9, d)
    expected = scatter + 0.5 * X.swapaxes(1, 2) @ X
    add_products(scatter, X, 0.5)
    assert np.triu(scatter) == pytest.approx(np.triu(expected))
    R = factored(scatter)
    assert (np.tril(R, -1) == 0).all()
    assert R.swapaxes(1, 2) @ R == pytest.approx(expected)


@pytest.mark.parametrize("d", [2, LARGE])
def test_a_covariance_that_is_not_positive_definite_is_an_error(d: int) -> None:
    with pytest.raises(np.linalg.LinAlgError):
        factored(np.tile(-np.eye(d), (SEEDS, 1, 1)))
