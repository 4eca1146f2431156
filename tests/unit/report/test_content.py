"""What the page says of tidy tables."""

import math

import pandas as pd
import pytest

from selfloop.analysis.read import select
from selfloop.data.quantity import Limit, Quantity
from selfloop.report import content
from selfloop.report.content import Judged
from selfloop.report.study import Study

from .conftest import LOSSES, curves, measured, plan

LOSS = Quantity("cross_entropy", "test", "Test cross-entropy", "nats per token", logarithmic=True)
NO_CURVES = pd.DataFrame(columns=["iteration", "series", "seed", "step", "value"])


def judged(metrics: pd.DataFrame, *limits: Limit) -> dict[tuple[str, str], Judged]:
    found = content.judged(content.lines(metrics, "text", LOSS, limits))
    return {(line.series, line.regime): line for line in found}


def test_a_line_has_what_is_lost_of_what_model_1_had_learnt() -> None:
    """Of 6.0 - 4.02 nats: 0.6 + 0.03 for the mean seed, at the iteration that both regimes reach."""
    losses = {"replace": [4.0, 4.4, 4.6], "accumulate": LOSSES["accumulate"]}
    replace, accumulate = judged(measured(losses)).values()
    assert (replace.effect.horizon, accumulate.effect.horizon) == (3, 3)
    assert replace.effect.total.value == pytest.approx((0.6 + 0.02) / 1.98, abs=0.01)
    assert replace.verdict.word.startswith("worse")
    assert accumulate.verdict.word == "no notable change"


def test_a_control_is_contrasted_seed_by_seed() -> None:
    losses = {**LOSSES, "accumulate-subsample": [4.0, 4.2, 4.3, 4.4]}
    found = judged(measured(losses))
    contrast = found["GPT-2 (1M)", "replace"].contrasts["accumulate-subsample"]
    assert contrast.value == pytest.approx((5.2 - 4.4) / 1.98, abs=0.01)
    assert contrast.high - contrast.low < 1e-6  # the seeds differ by the same in both
    assert found["GPT-2 (1M)", "accumulate-subsample"].contrasts == {}


def test_simulations_are_judged_by_theory_where_it_is_known_else_by_medians() -> None:
    about = {"domain": "linear", "metric": "excess_risk"}
    risk = Quantity("excess_risk", "test", "Excess risk").simulated
    losses = {"replace": [1.0, 2.0, 3.0], "accumulate-subsample": [1.0, 1.5, 1.6]}
    metrics = measured(losses, seeds=range(9), baseline=11.0, split=risk.split, **about)
    wild = (metrics["seed"] == 8) & (metrics["split"] == risk.split)
    metrics.loc[wild, "value"] *= 1e9  # as a few errors without a mean are
    exact = measured({"replace": losses["replace"]}, seeds=[0], baseline=None, split=risk.exact.split, **about)
    known, median = content.lines(pd.concat([metrics, exact]), "linear", risk)
    assert (known.effect.total.value, known.effect.total.p) == (pytest.approx(0.2), 0.0)
    assert median.effect.total.value == pytest.approx(0.06, abs=0.01)


def test_without_a_baseline_there_is_no_word() -> None:
    for line in judged(measured(baseline=None)).values():
        assert line.verdict.word == "no word"


def test_a_first_model_that_misses_a_limit_has_no_word() -> None:
    broken = Quantity("broken_bonds", "test", "Samples with broken bonds")
    more = measured({regime: [0.96] * 4 for regime in LOSSES}, baseline=None, metric="broken_bonds")
    reason = (
        "Model 1 has not learnt enough for a loop to lose (Samples with broken bonds: 97% of model 1's, more than 20%)."
    )
    metrics = pd.concat([measured(), more])
    assert {line.verdict.reason for line in judged(metrics, Limit(broken, 0.2)).values()} == {reason}
    assert {line.verdict.reason for line in judged(metrics, Limit(broken, 0.99)).values()} == {""}


def test_the_answer_counts_words_by_regime() -> None:
    flat = measured({"replace": [4.0, 3.98, 3.97, 3.97]}, experiment="other")
    found = list(judged(pd.concat([measured(), flat])).values())
    text = content.answer(content.first_table("Text", "text", found, simulated=False))
    assert text == (
        "Under replace, 1 of 2 get worse and are still rising, 1 of 2 show no notable change; "
        "under accumulate, 1 of 1 show no notable change."
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.584, "+58%"),
        (-0.13, "\N{MINUS SIGN}13%"),
        (12.3, "+1,230%"),
        (1e-17, "0.0%"),
        (1e300, "more than 1,000 times"),
    ],
)
def test_a_share_is_in_percent_and_no_number_beyond_a_thousand_times(value: float, text: str) -> None:
    assert content.share(value) == text


def test_a_whole_study_has_no_gap() -> None:
    experiments = Study.model_validate(plan().shows.report()).experiments
    assert content.gaps(experiments, measured(), {"text": LOSS}) == []


def test_a_gap_names_chain_and_iterations() -> None:
    experiments = Study.model_validate(plan().shows.report()).experiments
    metrics = measured()
    gone = (metrics["regime"] == "replace") & (metrics["seed"] == 1) & (metrics["iteration"] > 2)
    metrics.loc[metrics.index[0], "value"] = math.nan
    found = content.gaps(experiments, metrics[~gone], {"text": LOSS})
    assert [(gap.chain, gap.what) for gap in found] == [
        ("plays, replace, seed 1", "2 of 4 iterations; not yet 3, 4"),
        ("plays, replace", "cross_entropy (test) is not finite and is left out: seed 0 iteration 1"),
    ]


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (measured(seeds=[0, 1]), "No word for GPT-2 (1M): 2 of 3 seeds that a word needs."),
        (measured({regime: values[:1] for regime, values in LOSSES.items()}), "No word for GPT-2 (1M): One iteration:"),
        (measured({"replace": LOSSES["replace"]}), "One regime (replace):"),
        (measured({"replace": [4.0, math.nan, 4.2], "accumulate": [4.0, 4.0, 4.0]}), "Of 3 chains Test cross-entropy"),
        (measured(), "No control for compute: under accumulate"),
        (measured(), "4 iterations are too few"),
    ],
)
def test_what_cannot_be_said_is_said(metrics: pd.DataFrame, said: str) -> None:
    found = list(judged(metrics).values())
    assert any(sentence.startswith(said) for sentence in content.cannot_say(found, NO_CURVES, LOSS, ["plays"]))


def test_a_long_chain_whose_growth_has_no_law_is_not_called_short() -> None:
    losses = [4.0, *[4.1] * 19]
    (line,) = judged(measured({"replace": losses}, baseline=3.5)).values()  # model 1 has learnt nothing
    assert line.effect.law is None
    assert not any("too few" in said for said in content.cannot_say([line], NO_CURVES, LOSS, []))


def test_a_training_of_a_fixed_number_of_steps_needs_no_control_for_compute() -> None:
    said = content.cannot_say(list(judged(measured()).values()), NO_CURVES, LOSS, by_epochs=["another"])
    assert not any("compute" in sentence for sentence in said)


def test_a_first_model_that_was_still_learning_is_named() -> None:
    metrics = measured()
    rows = select(curves(metrics, steps=lambda regime, iteration: 100), "text", LOSS)
    rows["value"] += 0.3 * (rows["step"] < 100)
    said = content.cannot_say(list(judged(metrics).values()), rows, LOSS)
    assert any("was still learning: the last quarter of its training brought 15% of all" in text for text in said)
