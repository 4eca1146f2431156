"""Standard normal numbers by pairs."""

import numpy as np
import pytest
from scipy import stats

from selfloop.simulation.normals import BLOCK, standard_normal


def generator(seed: int = 0) -> np.random.Generator:
    """As simulations have it."""
    return np.random.Generator(np.random.SFC64(seed))


def test_numbers_are_normal_and_their_pairs_independent() -> None:
    count = 1_000_000
    found = standard_normal(generator(), (count,))
    assert stats.kstest(found, "norm").pvalue > 1e-3
    for power, variance in ((1, 1), (2, 2), (3, 15), (4, 96)):
        expected = 0 if power % 2 else (1, 3)[power // 2 - 1]
        assert abs(np.mean(found**power) - expected) < 4 * (variance / count) ** 0.5
    for other in (1, BLOCK, 2 * BLOCK):  # neighbours, a pair's two numbers, and those of the next block
        for power in (1, 2):
            r = np.corrcoef(found[:-other] ** power, found[other:] ** power)[0, 1]
            assert abs(r) < 4 / count**0.5


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (BLOCK * 2 + 1,)])
def test_any_shape_is_filled_with_numbers_that_the_seed_decides(shape: tuple[int, ...]) -> None:
    found, again = standard_normal(generator(1), shape), standard_normal(generator(1), shape)
    assert found.shape == shape
    assert np.isfinite(found).all() and (np.abs(found) < 6.8).all()
    np.testing.assert_array_equal(found, again)
