"""The rule that tells the phenomena of collapse apart, on changes whose word can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from selfloop.report.phenomena import UNMEASURED, Change, Observed, decide, limit_of
from selfloop.statistics.effect import Effect, effect
from selfloop.statistics.estimates import Estimate, mean

QUIET = 0.002


def surely(value: float, seeds: int = 3, apart: float = QUIET) -> Estimate:
    return mean(value + apart * np.array([-1.0, 0.0, 1.0, 0.5])[:seeds])


def change(by: float, first: float = 0.5, last: float = 0.5, real: float = 0.5, limit: str = "", **how: int) -> Change:
    return Change(surely(by, **how), first, last, real, limit)


def losses(values: list[float]) -> Effect:
    rows = np.array(values) + QUIET * np.array([-1.0, 0.0, 1.0])[:, None] * np.arange(len(values))
    return effect(1 + rows, baseline=2.0)


SAME = Observed(losses([0, 0, 0, 0]), change(0), change(0), (change(0),), change(0), surely(0))


def words(of: Observed, others: int = 0) -> list[str]:
    return [decision.word for decision in decide([of, *[SAME] * others])[0]]


def test_of_samples_that_stay_as_they_are_nothing_is_said_to_happen() -> None:
    assert words(SAME) == ["no", "no", "no", "carried on"]


@pytest.mark.parametrize(
    ("spread", "lost", "flat", "expected"),
    [
        (-0.3, -0.1, 0.0, ("modal collapse", "no")),
        (-0.3, 0.0, 0.0, ("loses variety", "no")),  # recall does not fall
        (-0.05, -0.1, 0.0, ("loses variety", "no")),  # not by 10%
        (0.3, -0.1, 0.1, ("no", "towards uniformity")),
        (0.3, -0.1, 0.0, ("no", "spreads out")),  # not flat
        (0.3, 0.0, 0.1, ("no", "spreads out")),
        (0.05, -0.1, 0.1, ("no", "spreads out")),
    ],
)
def test_a_phenomenon_takes_all_that_belongs_to_it(
    spread: float, lost: float, flat: float, expected: tuple[str, str]
) -> None:
    changes = {"spread": change(spread), "recall": change(lost), "like": change(lost), "flat": (change(flat),)}
    found = words(replace(SAME, **changes))
    assert (found[1], found[2]) == expected


def test_samples_that_come_nearer_to_real_data_do_not_collapse() -> None:
    closer = replace(SAME, spread=change(-0.3, first=5.3, last=4.8, real=4.4), recall=change(0.1))
    assert words(closer)[1:3] == ["nearer to real", "no"]
    assert words(replace(closer, spread=change(-0.3, first=4.4, last=4.1, real=4.4)))[1] == "loses variety"


@pytest.mark.parametrize(
    ("kappa", "expected"),
    [(0.5, "amplified"), (0.0, "carried on"), (0.05, "carried on"), (-0.5, "averaged out")],
)
def test_errors_grow_are_carried_on_or_average_out(kappa: float, expected: str) -> None:
    decision = decide([replace(SAME, carried=surely(kappa))])[0][3]
    assert decision.word == expected
    assert decision.size.value == pytest.approx(1 + kappa)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.2, 0.4, 0.6], "blows up"), ([0, 0.6, 0.6, 0.6], "no"), ([0, 0.01, 0.02, 0.03], "no")],
)
def test_the_error_blows_up_where_it_is_large_and_still_rises(values: list[float], expected: str) -> None:
    assert words(replace(SAME, effect=losses(values)))[0] == expected


def test_two_seeds_and_what_is_not_measured_have_no_word() -> None:
    few = replace(SAME, spread=UNMEASURED, carried=surely(0.5, seeds=2))
    found = decide([few])[0]
    assert [each.word for each in found[1:]] == ["no word"] * 3
    assert found[1].reason == "Not measured."
    assert found[3].reason == "2 of 3 seeds that a word needs."
    assert found[3].size.value == pytest.approx(1.499)


def test_a_model_that_has_not_learnt_enough_has_no_word() -> None:
    assert words(replace(SAME, inadequate="Too little.")) == ["no word"] * 4


def test_a_measure_at_its_limit_cannot_say_that_it_moved_further() -> None:
    assert words(replace(SAME, spread=change(0, limit="floor")))[1] == "no word"
    assert words(replace(SAME, spread=change(0, limit="ceiling")))[2] == "no word"
    floor = replace(SAME, spread=change(-0.3), recall=change(0, limit="floor"))
    assert decide([floor])[0][1].reason.endswith("is at its floor in iteration 1.")


def test_a_limit_is_near_beside_what_real_data_have() -> None:
    assert limit_of(0.004, 0.5, 0.0, 1.0) == "floor"
    assert limit_of(0.03, 0.12, 0.0, 1.0) == ""
    assert limit_of(0.99, 0.5, 0.0, 1.0) == "ceiling"
    assert limit_of(0.3, 0.5, None, None) == ""


def test_more_words_ask_for_more_of_each() -> None:
    noisy = replace(SAME, carried=surely(0.5, apart=0.1))
    assert words(noisy)[3] == "amplified"
    assert words(noisy, others=20)[3] == "undecided"
