"""The rule's words, on chains whose word can be worked out by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from selfloop.report.verdicts import Verdict, verdicts
from selfloop.statistics.effect import Effect, effect, exact_effect


def chain(values: Sequence[float], seeds: int = 3, apart: float = 0.001) -> np.ndarray:
    """Seeds with a loss that starts at 4 and rises by E of the 2 nats that model 1 has learnt; hardly apart."""
    drift = np.array([-1.0, 0.0, 1.0, 0.5, -0.5])[:seeds, None] * apart * np.arange(len(values))
    return 4.0 + 2.0 * (np.array(values) + drift)


def of(losses: np.ndarray) -> Effect:
    return effect(losses, baseline=6.0)


def word(values: Sequence[float], **how: float) -> str:
    (found,) = verdicts([of(chain(values, **how))])  # type: ignore[arg-type]
    return found.text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.0, 0.0, 0.0], "no notable change"),
        ([0.0, 0.02, 0.03, 0.03], "no notable change"),
        ([0.0, -0.1, -0.2, -0.2], "better"),
        ([0.0, 0.1, 0.2, 0.3], "worse, still rising"),
        ([0.0, 0.3, 0.3, 0.3], "worse, flat since 2"),
        ([0.0, 0.3, 0.5, 0.5], "worse, still rising"),  # one step is too few to call flat
        ([0.0, 0.3, 0.5, 0.5, 0.5, 0.5], "worse, flat since 3"),
        ([0.0, 0.3], "worse, late trend open"),  # the step to synthetic data is no late change
        ([0.0, 0.6, 1.1, 1.1], "useless"),
    ],
)
def test_the_word_says_how_large_the_damage_is_and_whether_it_grows(values: list[float], expected: str) -> None:
    assert word(values) == expected


@pytest.mark.parametrize("iterations", [4, 10])
def test_a_jump_is_damage_however_long_it_has_been_flat(iterations: int) -> None:
    assert word([0.0, *[0.8] * (iterations - 1)]) == "worse, flat since 2"


def test_seeds_that_disagree_leave_it_undecided() -> None:
    assert word([0.0, 0.05, 0.1, 0.1], apart=0.05) == "undecided"


def test_two_seeds_have_values_and_no_word() -> None:
    (found,) = verdicts([of(chain([0.0, 0.3, 0.6], seeds=2))])
    assert (found.word, found.reason) == ("no word", "2 of 3 seeds that a word needs.")


def test_one_iteration_and_a_model_that_learnt_nothing_have_no_word() -> None:
    alone, useless = verdicts([of(chain([0.0])), effect(chain([0.0, 0.3]), baseline=3.9)])
    assert alone.reason == "One iteration: nothing has been trained on samples yet."
    assert useless.reason.startswith("Model 1 is no better than a predictor that learns nothing")


def test_a_model_1_that_is_not_adequate_has_no_word_and_counts_for_no_correction() -> None:
    clear = of(chain([0.0, 0.1, 0.2, 0.3], apart=0.01))
    alone = verdicts([clear])
    first, *others = verdicts([clear] * 3, ["", "96% broken bonds.", "96% broken bonds."])
    assert first == alone[0]
    assert {(each.word, each.reason) for each in others} == {("no word", "96% broken bonds.")}


def test_words_are_corrected_for_their_number() -> None:
    """p = 0.02 alone, and 0.5 among 25; what is far clearer stays."""
    doubtful, clear = of(chain([0.0, 0.05, 0.1, 0.15], apart=0.0125)), of(chain([0.0, 0.3, 0.6, 0.9]))
    assert 0.01 < doubtful.total.p < 0.05
    assert verdicts([doubtful])[0].word.startswith("worse")
    among = verdicts([doubtful, *[of(chain([0.0, 0.0, 0.0, 0.0]))] * 23, clear])
    assert among[0] == Verdict("undecided", p=among[0].p, reason=among[0].reason)
    assert among[0].reason == "It differs from 0 alone, but not among all words of the study."
    assert among[-1].word == "worse, still rising"


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0, 0.0], [0.0, -0.1, -0.2, -0.2]])
@pytest.mark.parametrize("lost", [[4.0, 4.0, 4.0, math.nan], [4.0, math.nan, math.nan, math.nan]])
def test_a_chain_of_which_a_seed_may_have_diverged_is_not_called_harmless(
    values: list[float], lost: list[float]
) -> None:
    (found,) = verdicts([of(np.vstack([chain(values), lost]))])
    assert (found.word, found.reason) == ("undecided", "1 of 4 seeds diverged or ended early.")


def test_damage_is_damage_though_a_seed_diverged() -> None:
    (found,) = verdicts([of(np.vstack([chain([0.0, 0.1, 0.2, 0.3]), [4.0, math.nan, math.nan, math.nan]]))])
    assert found.word == "worse, still rising"


def test_theory_needs_no_seeds() -> None:
    n = np.arange(1.0, 101)
    growing, bounded = verdicts(
        [exact_effect(0.01 * n, baseline=10.0, seeds=100), exact_effect(np.cumsum(1 / n**2), baseline=10.0, seeds=100)]
    )
    assert growing.word == "worse, still rising"
    assert bounded.text.startswith("worse, flat since")


def test_no_seed_that_is_finite_has_no_word() -> None:
    (found,) = verdicts([of(np.full((3, 4), np.nan))])
    assert found.word == "no word"
