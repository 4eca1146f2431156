"""Filtered regimes against their random twins: the words, and what a filter does to the samples."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest

from selfloop.data.tidy import PROFILE
from selfloop.planning.rules import Plan, plan_study
from selfloop.report.content import judged, lines
from selfloop.report.filters import Filtered, filtered
from selfloop.report.study import Study

from .conftest import CONFIG, measured

FILTERS = {"surprising": {"by": "cross-entropy", "candidates": 4}}
REGIMES = {"curated": {"parts": [{"from": "previous", "filter": "surprising"}], "control": "random"}}
TWIN = [4.0, 4.4, 4.8, 5.2]


def study() -> Plan:
    experiment = {**CONFIG["experiments"]["plays"], "regimes": ["curated"]}
    return plan_study({"experiments": {"plays": experiment}, "filters": FILTERS, "regimes": REGIMES})


def entropies(curated: float, seeds: Sequence[int] = (0, 1, 2)) -> pd.DataFrame:
    """The profile's spread and recall at iteration 4."""
    base = {"experiment": "plays", "domain": "text", "model": "GPT-2 (1M)", "sampling": "temperature=1.0", "real": 5.0}
    rows = [
        {**base, "regime": regime, "seed": seed, "iteration": 4, "measure": measure, "value": value + 0.01 * seed}
        for regime, entropy in (("curated", curated), ("curated-random", 5.0))
        for measure, value in (("entropy", entropy), ("recall", entropy / 10))
        for seed in seeds
    ]
    return pd.DataFrame(rows).reindex(columns=PROFILE.names)


def of(losses: Sequence[float], seeds: Sequence[int] = (0, 1, 2), noise: float = 0.0, entropy: float = 5.0) -> Filtered:
    metrics = measured({"curated": losses, "curated-random": TWIN}, seeds)
    metrics["value"] += (
        noise * ((metrics["seed"] % 3) - 1) * (metrics["regime"] == "curated") * (metrics["iteration"] - 1)
    )
    (domain,) = Study.model_validate(study().shows.report()).domains
    quantity = next(iter(study().domains)).headline
    (found,) = filtered(judged(lines(metrics, "text", quantity)), metrics, entropies(entropy, seeds), [domain])
    return found


@pytest.mark.parametrize(
    ("losses", "more", "word"),
    [
        ([4.0, 4.1, 4.2, 4.3], {}, "better"),
        ([4.0, 4.8, 5.2, 5.6], {}, "worse"),
        ([4.0, 4.4, 4.8, 5.21], {}, "no notable change"),
        ([4.0, 4.1, 4.2, 4.9], {"noise": 0.2}, "undecided"),
        ([4.0, 4.1, 4.2, 4.3], {"seeds": (0, 1)}, "no word"),
    ],
)
def test_the_word_is_that_of_the_difference_paired_by_seed(
    losses: list[float], more: dict[str, Any], word: str
) -> None:
    found = of(losses, **more)
    assert found.word == word
    assert found.difference.value == pytest.approx((losses[-1] - TWIN[-1]) / (6.0 - 4.01), rel=0.02)


def test_a_filter_that_lowers_the_loss_and_empties_the_tails_is_seen_to_do_so() -> None:
    found = of([4.0, 4.1, 4.2, 4.3], entropy=4.5)
    assert found.sentence == "curated loses less than its twin, but has narrower samples (GPT-2 (1M))."
    spread, recall = found.compared
    assert spread.text == "\u221239% (\u221239% to \u221239%)"  # exp(-.5), the same for all seeds
    assert recall.text.startswith("\u22120.05")
    assert of([4.0, 4.1, 4.2, 4.3]).sentence == "curated loses less than its twin (GPT-2 (1M))."


def test_of_too_few_seeds_nothing_is_said() -> None:
    found = of([4.0, 4.1, 4.2, 4.3], seeds=(0, 1), entropy=4.5)
    assert found.sentence == "Nothing can be said of curated against its twin (GPT-2 (1M))."


def test_the_page_shows_what_a_filter_keeps(page: Callable[..., str]) -> None:
    metrics = measured({"curated": [4.0, 4.1, 4.2, 4.3], "curated-random": TWIN})
    kept = metrics[(metrics["regime"] == "curated") & (metrics["iteration"] > 1)].assign(split="training")
    values = {"share_kept": 0.25, "candidate_score": -1.5, "kept_score": -1.125}
    found = page(pd.concat([metrics, *(kept.assign(metric=name, value=held) for name, held in values.items())]))
    assert "Filters, each against its random twin" in found
    assert "curated loses less than its twin" in found
    assert ">25%<" in found
    assert "\u22121.50</td>" in found
    assert "\u22121.13</td>" in found or "\u22121.12</td>" in found
    assert "Filters: of a filtered regime and its random twin" in found


def test_a_study_without_filters_has_no_word_of_them(page: Callable[..., str]) -> None:
    assert "random twin" not in page(measured())
