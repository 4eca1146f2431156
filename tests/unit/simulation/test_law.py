"""The law of a regime: the paper's theorems, closed forms of others, and tables without one."""

import math
from typing import Any

import numpy as np
import pytest

from selfloop.data.regimes import BUILT_IN, Regime, Source, Take, TrainingSet, training_set
from selfloop.domains.linear import theory
from selfloop.simulation.law import Fit, Law, has_law, law, whole

GOLDEN = (math.sqrt(5) - 1) / 2


def sets_of(regime: Regime, iterations: int) -> list[TrainingSet]:
    return [training_set(regime, n) for n in range(1, iterations + 1)]


def law_of(regime: Regime | str, iterations: int, rows: int = 1000, **changes: Any) -> Law:
    own = BUILT_IN[regime] if isinstance(regime, str) else regime
    return law(sets_of(own, iterations), Fit(rows, **changes))


def regime(*sources: Source, budget: float | None = None) -> Regime:
    return Regime("own", sources, budget)


@pytest.mark.parametrize("name", theory.UPDATES)
def test_the_paper_s_laws_are_cases_of_it(name: str) -> None:
    """Eq. 4, Theorem 1 and eq. 11, and the controls."""
    found = law_of(name, 30, known=True)
    assert found.growth == pytest.approx(theory.growth(name, 30), rel=1e-12)
    assert found.mean * 1000 == pytest.approx(found.growth, rel=1e-12)


def test_accumulate_never_passes_the_bound_of_theorem_2() -> None:
    growth = law_of("accumulate", 300, known=True).growth
    assert (np.diff(growth) > 0).all()
    assert 0.995 * math.pi**2 / 6 < growth[-1] < math.pi**2 / 6


def test_a_budget_gives_the_limit_of_accumulate_subsample() -> None:
    """Of many rows; at 1,000 rows the noise of rows that are picked twice is a thousandth of it."""
    found = law_of("accumulate-subsample", 50, rows=10**6, known=True)
    expected = theory.subsample_limit(1, 10**6, 1.0, 50)
    assert found.growth == pytest.approx(expected / expected[0], rel=1e-5)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (regime(Source("fresh", 0.1), Source("previous", 0.9)), 1 / (0.1 * 1.9)),
        (regime(Source("fresh", 0.5), Source("previous", 0.5)), 4 / 3),
        (regime(Source("real", 0.1, same=True), Source("previous", 0.9)), 10 + 0.9 / (0.1 * 1.9)),
        (regime(Source("real", 0.5, same=True), Source("previous", 0.5)), 8 / 3),
        (regime(Source("fresh", weight=0.5), Source("previous", weight=0.5)), 2 / 3),
        (regime(Source("fresh", weight=GOLDEN), Source("previous", weight=1 - GOLDEN)), GOLDEN),
    ],
)
def test_the_error_of_a_mean_of_known_variance_ends_at_its_closed_form(own: Regime, expected: float) -> None:
    assert law_of(own, 300, known=True).mean[-1] * 1000 == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("models", [1, 2, 3])
def test_a_window_of_models_grows_by_four_over_its_square_plus_one(models: int) -> None:
    error = 1000 * law_of(regime(Source("all", last=models)), 200, known=True).mean
    assert error[-1] - error[-2] == pytest.approx(4 / (models + 1) ** 2, rel=1e-9)


def test_rows_that_grow_with_the_square_of_the_iteration_bound_replace() -> None:
    growing = regime(Source("previous", tuple(float(n * n) for n in range(2, 11))))
    assert law_of(growing, 10, known=True).growth[-1] == pytest.approx(sum(1 / n**2 for n in range(1, 11)))


def test_a_fitted_variance_shrinks_under_replace_and_tends_to_a_limit_under_accumulate() -> None:
    """Shumailov et al. 2024; Kazdan et al. 2024."""
    replaced, kept = law_of("replace", 40, rows=100), law_of("accumulate", 40, rows=10)
    assert replaced.variance == pytest.approx(0.99 ** np.arange(1, 41), rel=1e-12)
    assert replaced.mean == pytest.approx(1 - replaced.variance, rel=1e-10)
    assert kept.variance == pytest.approx(np.cumprod(1 - 1 / (10 * np.arange(1.0, 41) ** 2)), rel=1e-12)
    limit = math.sin(math.pi / math.sqrt(10)) / (math.pi / math.sqrt(10))
    assert law_of("accumulate", 300, rows=10).variance[-1] == pytest.approx(limit, rel=1e-3)


def test_an_unbiased_variance_stays_under_replace_and_a_kernel_s_grows_to_its_fixed_point() -> None:
    assert law_of("replace", 20, rows=10, unbiased=True).variance == pytest.approx(np.ones(20))
    assert law_of("replace", 1000, rows=50, added=0.25).variance[-1] == pytest.approx(49 * 0.25)
    assert law_of("replace", 20, rows=10, unbiased=True, scale=0.9).variance == pytest.approx(0.9 ** np.arange(20))


def test_of_given_rows_all_is_over_sampling_alone() -> None:
    found = law_of("replace", 3, rows=50, given=True)
    assert found.variance == pytest.approx([1, 0.98, 0.98**2])
    assert found.mean == pytest.approx([0, 0.02, 1 - 0.98**2])


def test_least_squares_has_an_exact_law_of_whole_parts_of_one_x() -> None:
    assert whole(sets_of(BUILT_IN["accumulate"], 4))
    for own in (regime(Source("all", 0.5)), regime(Source("fresh")), BUILT_IN["accumulate-subsample"]):
        assert not whole(sets_of(own, 4))


@pytest.mark.parametrize(
    "own",
    [
        regime(Source("real", weight=2.0), Source("all"), budget=1.0),
        regime(Source("real", (0.5, 0.2), same=True), Source("previous")),
    ],
)
def test_some_tables_have_no_law(own: Regime) -> None:
    assert not has_law(sets_of(own, 5))
    with pytest.raises(ValueError, match="no law"):
        law(sets_of(own, 5), Fit(10))


def test_rows_that_a_filter_chooses_have_no_law() -> None:
    assert not has_law([TrainingSet((Take(0, filter="surprising"),))])
