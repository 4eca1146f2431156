"""The law of curation, against enumeration, limits, and filters that choose words."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from selfloop.data.choice import Choice, choose
from selfloop.domains.discrete.curation import Curation, curated
from selfloop.domains.discrete.domain import MOST_APART
from selfloop.domains.discrete.model import Model
from selfloop.domains.discrete.steps.plot_curation import chain, curation_figure
from selfloop.planning.rules import plan_study

P = np.array([0.5, 0.3, 0.15, 0.05])
REWARDS = np.array([0.0, 1.0, -1.0, 1.0])
BASE: dict[str, Any] = {"keep": "drawn", "each": True, "candidates": 3, "beta": 1.0, "noise": 0.0}


def law(**changes: Any) -> np.ndarray:
    return curated(P, REWARDS, Curation(rewards={}, **{**BASE, **changes}))


@pytest.mark.parametrize("candidates", [2, 3, 4])
def test_of_each_rows_candidates_one_is_drawn_by_weight(candidates: int) -> None:
    """Enumerated: every sequence of candidates, with its probability."""
    expected, weights = np.zeros(4), np.exp(1.5 * REWARDS)
    for drawn in product(range(4), repeat=candidates):
        of = list(drawn)
        np.add.at(expected, of, P[of].prod() * weights[of] / weights[of].sum())
    np.testing.assert_allclose(law(candidates=candidates, beta=1.5), expected, rtol=1e-7)


@pytest.mark.parametrize(("keep", "best"), [("highest", max), ("lowest", min)])
def test_of_each_rows_candidates_the_best_is_kept(keep: str, best: Any) -> None:
    expected = np.zeros(4)
    for drawn in product(range(4), repeat=3):
        of = np.array(drawn)
        kept = of[REWARDS[of] == best(REWARDS[of])]
        np.add.at(expected, kept, P[of].prod() / len(kept))
    np.testing.assert_allclose(law(keep=keep), expected, rtol=1e-12)


@pytest.mark.parametrize("each", [True, False])
def test_many_candidates_are_weighted_by_the_exponential_of_the_reward(each: bool) -> None:
    limit = P * np.exp(REWARDS)
    np.testing.assert_allclose(law(each=each, candidates=100_000), limit / limit.sum(), rtol=1e-4)


@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("beta", [30.0, MOST_APART / 2])
def test_huge_rewards_are_those_of_the_best_candidates(each: bool, beta: float) -> None:
    best = law(keep="highest", each=each)
    np.testing.assert_allclose(law(each=each, beta=beta), best, atol=1e-9)


def test_the_best_of_all_fill_a_share_of_the_candidates() -> None:
    # Half of the candidates: the rewarded .35, and .15 of the .5 without reward.
    np.testing.assert_allclose(law(keep="highest", each=False, candidates=2), [0.3, 0.6, 0.0, 0.1])
    np.testing.assert_allclose(law(keep="lowest", each=False, candidates=4), [0.4, 0.0, 0.6, 0.0])


def test_an_erring_verifier_mixes_the_candidates_in() -> None:
    np.testing.assert_allclose(law(noise=0.25), 0.75 * law() + 0.25 * P)
    np.testing.assert_allclose(law(noise=1.0), P)


@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("keep", ["drawn", "highest", "lowest"])
def test_the_law_is_that_of_the_filter_itself(keep: str, each: bool) -> None:
    rows, candidates = 40_000, 3
    how = {**BASE, "keep": keep, "each": each, "noise": 0.1}
    drawn = np.random.default_rng(0).choice(4, size=(candidates, rows), p=P)
    choice = Choice.model_validate({**how, "name": "reward", "random": False})
    mask = choose(list(REWARDS[drawn]), [rows] * candidates, rows, rows, choice, 1)
    found = np.bincount(drawn.ravel()[mask], minlength=4) / rows
    expected = law(**how)
    assert expected.sum() == pytest.approx(1.0, abs=1e-9)
    assert np.abs(found - expected).max() < 4 * np.sqrt(0.25 / rows)


def models(how: Curation, rows: int, iterations: int = 5) -> list[Model]:
    """A chain whose models follow the law, but for what is drawn."""
    generator, p, found = np.random.default_rng(0), P, []
    for _ in range(iterations):
        counts = generator.multinomial(rows, p)
        found.append(Model(["a", "b", "c", "d"], np.maximum(counts, 1).astype(float)))
        p = curated(counts / rows, REWARDS, how)
    return found


REWARDED = Curation(rewards={"b": 1.0, "c": -1.0, "d": 1.0}, **{**BASE, "keep": "drawn"})


def test_the_figure_counts_shares_within_three_standard_errors_of_the_law() -> None:
    line = chain(models(REWARDED, 4_000), REWARDED, 1.0)
    assert line.levels.tolist() == [-1.0, 0.0, 1.0]
    assert (np.abs(line.z) <= 3).all()
    assert len(line.z) == 4 * 4 - (line.law[1:, 0] * 4_000 < 5).sum()
    np.testing.assert_allclose(line.seen, line.law, atol=0.04)
    other = chain(models(REWARDED, 4_000), REWARDED.model_copy(update={"beta": 2.0}), 1.0)
    assert (np.abs(other.z) > 3).mean() > 0.5, "another law is seen to be wrong"
    figure = curation_figure({"Taste": [line]})
    title = figure.axes[0].get_title().replace("\n", " ")
    assert title == f"Taste: 100.0% of {len(line.z)} shares within 3 SE"


def test_rewards_that_are_too_far_apart_to_be_drawn_by_are_refused() -> None:
    taste: dict[str, Any] = {"by": "reward", "rewards": {"the": 60.0, "my": -60.0}, "keep": "drawn"}
    experiment = {
        "domain": "discrete",
        "data": {"source": "categories", "types": 4, "rows": 8},
        "regimes": ["taste"],
        "iterations": 2,
        "seeds": [0],
    }
    parts = [{"from": "previous", "filter": "taste"}]

    def study(**keys: Any) -> dict[str, Any]:
        return {
            "experiments": {"a": experiment},
            "filters": {"taste": {**taste, **keys}},
            "regimes": {"taste": {"parts": parts}},
        }

    with pytest.raises(SystemExit) as caught:
        plan_study(study())
    assert str(caught.value).endswith(
        "filters.taste.rewards: they are 120 apart, times beta; at most 100 with keep: drawn. Take keep: highest, "
        "which so large ones come to."
    )
    plan_study(study(beta=0.5))
    plan_study(study(keep="highest"))


def test_the_figure_is_that_of_regimes_that_train_on_what_a_filter_by_rewards_keeps() -> None:
    rewards = {"by": "reward", "rewards": {"the": 1.0}}
    parts: dict[str, Any] = {
        "alone": [{"from": "previous", "filter": "taste"}],
        "beside-real": [{"from": "real"}, {"from": "previous", "filter": "taste"}],
        "oracle": [{"from": "previous", "filter": "oracle"}],
    }
    data = {"source": "categories", "types": 4, "rows": 8, "reserve": 1.0}
    study = {"domain": "discrete", "data": data, "regimes": list(parts), "iterations": 2, "seeds": [0]}
    plan = plan_study(
        {
            "experiments": {"a": study},
            "filters": {"taste": rewards, "oracle": {"by": "oracle"}},
            "regimes": {name: {"parts": lines, "control": "random"} for name, lines in parts.items()},
        }
    )
    (entry,) = [each for each in plan.shows.entries if each.analysis.step == "plot_curation"]
    assert list(entry.params["asked"]["filters"]) == ["alone"]
    assert {row["regime"] for row in entry.params["artifacts"]} == {"alone"}
    assert entry.params["asked"]["temperatures"] == {"temperature=1.0": 1.0}
