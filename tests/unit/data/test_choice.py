"""Which rows a filter chooses of its candidates."""

from typing import Any

import numpy as np
import pytest

from selfloop.data.choice import Choice, choose
from selfloop.errors import UserError

T = 200
BASE = {"name": "mine", "keep": "highest", "each": False, "candidates": 2, "beta": 1.0, "noise": 0.0, "random": False}


def how(**changes: Any) -> Choice:
    return Choice.model_validate({**BASE, **changes})


def scores(parts: int = 2) -> list[Any]:
    return list(np.random.default_rng(0).normal(size=(parts, T)))


def chosen(given: list[Any], wanted: int = T, seed: int = 1, **changes: Any) -> np.ndarray:
    return choose(given, [T] * len(given), wanted, T, how(**changes), seed)


@pytest.mark.parametrize(("keep", "sign"), [("highest", 1), ("lowest", -1)])
def test_the_rows_with_the_best_scores_are_kept(keep: str, sign: int) -> None:
    given = scores()
    mask = chosen(given, keep=keep)
    values = sign * np.concatenate(given)
    assert mask.sum() == T
    assert values[mask].min() > values[~mask].max()


def test_of_each_row_the_best_candidate_is_kept() -> None:
    given = scores(4)
    mask = chosen(given, each=True, candidates=4).reshape(4, T)
    assert (mask.sum(axis=0) == 1).all()
    assert np.array_equal(mask.argmax(axis=0), np.stack(given).argmax(axis=0))


def test_two_and_a_half_rows_of_each_take_candidates_of_their_own() -> None:
    mask = chosen(scores(6), wanted=T * 5 // 2, each=True).reshape(3, 2, T)
    assert mask.sum(axis=1).tolist() == [[1] * T, [1] * T, [1] * (T // 2) + [0] * (T // 2)]


def test_a_fraction_has_no_more_candidates_than_its_share() -> None:
    given: list[Any] = [np.concatenate([np.zeros(T // 2), np.ones(T // 2)])]
    mask = chosen(given, wanted=T // 4)
    assert mask.sum() == T // 4
    assert not mask[T // 2 :].any()


def test_equal_scores_are_drawn_among() -> None:
    given: list[Any] = [np.zeros(T), np.zeros(T)]
    one, other = (chosen(given, seed=seed) for seed in (1, 2))
    assert one.sum() == other.sum() == T
    assert not np.array_equal(one, other)
    assert 60 < one[:T].sum() < 140  # 100 are expected, with a standard deviation of 7
    assert 60 < chosen(given, each=True)[:T].sum() < 140


def test_drawn_of_k_candidates_has_the_law_of_curation() -> None:
    """Of k candidates of two types, a rewarded one is drawn with its share of e^reward (Ferbach et al. 2024)."""
    rows, k, beta = 40_000, 3, 1.5
    types = np.random.default_rng(0).integers(0, 2, size=(k, rows))
    rule = how(keep="drawn", each=True, candidates=k, beta=beta)
    mask = choose(list(types.astype(float)), [rows] * k, rows, rows, rule, 5)
    share = types[mask.reshape(k, rows)].mean()
    rewarded = np.arange(k + 1)
    expected = (np.array([1, 3, 3, 1]) / 8 * rewarded * np.exp(beta) / (rewarded * np.exp(beta) + k - rewarded)).sum()
    assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / rows))


def test_drawn_of_many_candidates_is_weighted_by_the_exponential_of_the_score() -> None:
    rows = 20_000
    types = np.random.default_rng(0).integers(0, 2, size=(40, rows)).astype(float)
    mask = choose(list(types), [rows] * 40, rows, rows, how(keep="drawn", candidates=40), 5)
    share = types.ravel()[mask].mean()
    assert share / (1 - share) == pytest.approx(np.e, rel=0.07)  # 4 standard errors, and 1% for drawing 1 of 40


def test_a_twin_keeps_as_many_rows_whatever_their_scores() -> None:
    none: list[Any] = [None, None]
    assert chosen(none, random=True).sum() == T
    mask = chosen(none, random=True, each=True).reshape(2, T)
    assert (mask.sum(axis=0) == 1).all()
    assert 60 < mask[0].sum() < 140


def test_a_verifier_that_always_errs_is_its_random_twin_in_law() -> None:
    given = scores()
    everything = np.concatenate(given)
    means = [everything[chosen(given, seed=seed, noise=1.0)].mean() for seed in range(50)]
    assert np.mean(means) == pytest.approx(everything.mean(), abs=4 * everything.std() / np.sqrt(2 * T * 50))
    sometimes = everything[chosen(given, noise=0.3)].mean()
    assert everything.mean() < sometimes < everything[chosen(given)].mean()


def test_too_few_candidates_are_named() -> None:
    with pytest.raises(UserError, match=r"filter 'mine': 401 rows are to be kept of 400 candidates; raise candidates"):
        chosen(scores(), wanted=401)
    with pytest.raises(UserError, match="each row needs 2 candidates, and a part lacks some"):
        choose([np.zeros(T), np.zeros(T - 1)], [T, T - 1], T, T, how(each=True), 1)
    with pytest.raises(UserError, match="there are 199 scores of 200 rows"):
        choose([np.zeros(T - 1)], [T], 10, T, how(), 1)


def test_rows_beyond_a_threshold_are_drawn() -> None:
    given = scores()
    values = np.concatenate(given)
    for keep, beyond in (("above", values >= -0.5), ("below", values <= 0.5)):
        bound = -0.5 if keep == "above" else 0.5
        masks = [chosen(given, seed=seed, keep=keep, threshold=bound) for seed in (1, 2)]
        assert [mask.sum() for mask in masks] == [T, T]
        assert not any((mask & ~beyond).any() for mask in masks)
        assert not np.array_equal(*masks)
        best = np.sort(values[beyond] if keep == "above" else -values[beyond])[-T:]
        assert masks[0][values == best[-1]].sum() + masks[1][values == best[-1]].sum() < 3, "not by their scores"


def test_a_twin_of_a_threshold_needs_no_scores() -> None:
    assert chosen([None, None], random=True, keep="above", threshold=1e9).sum() == T


def test_too_few_rows_beyond_a_threshold_are_one_message() -> None:
    with pytest.raises(UserError) as caught:
        chosen([np.zeros(T), np.arange(T)], keep="above", threshold=150.0)
    assert str(caught.value) == (
        "filter 'mine': 50 of 400 candidates have scores above 150, and 200 are to be kept (scores are from 0 to 199); "
        "raise candidates, or move the threshold."
    )
