"""What the page says of tidy tables."""

import math

import pandas as pd
import pytest

from selfloop.analysis.read import select
from selfloop.data.quantity import Quantity
from selfloop.report import content

from .conftest import LOSSES, measured, plan

LOSS = Quantity("cross_entropy", "test", "Test cross-entropy", "nats per token", logarithmic=True)


def sentences(metrics: pd.DataFrame) -> list[str]:
    found = content.lines(select(metrics, "text", LOSS), LOSS)
    return [f"{clause.regime}: {clause.text}" for clause in content.answer(found, LOSS)]


def test_the_answer_names_verdict_slope_and_interval_of_every_regime() -> None:
    replace, accumulate = sentences(measured())
    assert replace.startswith("replace: it collapses (+0.41 nats per token per iteration; 95% interval +0.3")
    assert accumulate.startswith("accumulate: it stays bounded (\N{MINUS SIGN}0.025 nats per token per iteration;")


def test_several_models_are_counted() -> None:
    flat = measured({"replace": [4.0, 3.9, 3.9, 3.9]}, experiment="other")
    (replace, _) = sentences(pd.concat([measured(), flat]))
    assert replace.startswith(
        "replace: it collapses in 1 of 2 and stays bounded in 1 of 2 (\N{MINUS SIGN}0.020 to +0.41 nats"
    )


def test_one_seed_has_an_answer_without_interval() -> None:
    (replace, _) = sentences(measured(seeds=[0]))
    assert replace == "replace: it lacks a verdict (+0.40 nats per token per iteration; one seed, so no interval)"


def test_a_quantity_that_is_no_logarithm_moves_by_shares_of_its_first_value() -> None:
    risk = Quantity("cross_entropy", "test", "Excess risk", "squared unit of y")
    found = content.lines(select(measured(), "text", risk), risk)
    assert "% of the first model's value per iteration; 95% interval" in content.answer(found, risk)[0].text


def test_a_whole_study_has_no_gap() -> None:
    experiments = plan().checked.plain["experiments"]
    assert content.gaps(experiments, measured(), {"text": LOSS}) == []


def test_a_gap_names_chain_and_iterations() -> None:
    experiments = plan().checked.plain["experiments"]
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
        (measured(seeds=[0]), "One seed:"),
        (measured({regime: values[:1] for regime, values in LOSSES.items()}), "One iteration:"),
        (measured({"replace": LOSSES["replace"]}), "One regime (replace):"),
        (measured({"replace": [4.0, math.nan, 4.2], "accumulate": [4.0, 4.0, 4.0]}), "3 values of Test cross-entropy"),
        (measured(), "Few seeds:"),
    ],
)
def test_what_cannot_be_said_is_said(metrics: pd.DataFrame, said: str) -> None:
    found = content.lines(select(metrics, "text", LOSS), LOSS)
    assert any(sentence.startswith(said) for sentence in content.cannot_say(found, LOSS))
