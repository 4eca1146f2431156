"""κ of frequencies, of loops whose answer is known."""

import numpy as np
import pytest

from selfloop.statistics.carried import carried, smoothed

TYPES, ROWS = 300, 40_000
FREQUENCIES = 1 / np.arange(1.0, TYPES + 1)
SHARES = FREQUENCIES / FREQUENCIES.sum()


def pieces(counts: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    first = generator.multivariate_hypergeometric(counts, counts.sum() // 2)
    return [smoothed(first), smoothed(counts - first)]


@pytest.mark.parametrize(("kept", "expected"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.0)])
def test_kappa_is_the_share_of_the_samples_that_the_next_model_learns(kept: float, expected: float) -> None:
    """The next model has their frequencies and, with the rest of its weight, those of other real rows."""
    kappas = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        real, before, other = (generator.multinomial(ROWS, SHARES) for _ in range(3))
        after = generator.multinomial(ROWS, kept * before / ROWS + (1 - kept) * other / ROWS)
        kappas.append(carried(*(pieces(each, generator) for each in (before, after, real)))["kappa"])
    assert np.mean(kappas) == pytest.approx(expected, abs=0.1)
