"""Which types live on: closed forms, and a branching process worked out by hand."""

import math

import numpy as np
import pytest

from selfloop.data.regimes import BUILT_IN, Regime, Source, TrainingSet, training_set
from selfloop.simulation.survival import expected_drawn_types, expected_types, extinct


def sets_of(regime: Regime, iterations: int) -> list[TrainingSet]:
    return [training_set(regime, n) for n in range(1, iterations + 1)]


def test_under_replace_survival_iterates_one_map() -> None:
    alive = 1 - extinct(sets_of(BUILT_IN["replace"], 6), 1000).real
    expected = [1.0]
    for _ in range(5):
        expected.append(1 - math.exp(-expected[-1]))
    assert alive == pytest.approx(expected)


def test_real_rows_that_stay_keep_every_type() -> None:
    assert (extinct(sets_of(BUILT_IN["accumulate"], 6), 1000).real == 0).all()
    assert (extinct(sets_of(BUILT_IN["real-multiple"], 6), 1000).real == 0).all()


def test_a_row_lives_by_being_drawn_or_by_what_was_sampled_of_it() -> None:
    """Half of the real rows, and half a part of model 1, at iteration 2."""
    own = Regime("own", (Source("real", 0.5), Source("previous", 0.5)))
    dead = extinct(sets_of(own, 2), 1000).real
    # About one row of the part per row of the training set of iteration 1, each taken with probability 1/2.
    assert dead == pytest.approx([0.0, 0.5 * math.exp(-0.5)])


def test_the_same_rows_live_for_good() -> None:
    own = Regime("own", (Source("real", 0.25, same=True), Source("previous", 0.75)))
    dead = extinct(sets_of(own, 60), 1000).real
    assert (np.diff(dead) >= 0).all()
    assert dead[-1] < 0.75  # a quarter of the rows is always there


def test_expected_types_sum_over_counts() -> None:
    found = extinct(sets_of(BUILT_IN["replace"], 2), 4)
    counts = np.array([3, 1, 0])
    assert expected_types(found, counts) == pytest.approx([2.0, 1 - math.exp(-3) + 1 - math.exp(-1)])
    drawn = expected_drawn_types(found, np.array([0.75, 0.25]), 4)
    assert drawn[0] == pytest.approx(2 - 0.25**4 - 0.75**4)
