"""Every figure and table of the paper has a row, and a row says what the tables say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfloop.data.quantity import Quantity
from selfloop.data.tidy import CURVES, METRICS
from selfloop.paper.claims import claims, ratio_of_means
from selfloop.paper.evidence import Claim, Evidence

from ..report.conftest import curves, measured

PLACES = [*(f"Fig. {n}" for n in (2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16)), "Table 1", "Table 2"]
LOSS = Quantity("cross_entropy", "test", "Test cross-entropy", "nats per token")
RISK = Quantity("excess_risk", "test", "Excess risk", "squared unit of y")
QUALITY = Quantity("cross_entropy_under_first_model", "synthetic", "Cross-entropy under model 1", role="quality")
SAMPLINGS: dict[str, dict[str, Any]] = {
    "temperature=1.0": {"temperature": 1.0, "top_k": None},
    "temperature=0.3": {"temperature": 0.3, "top_k": None},
    "temperature=0.3, top_k=5": {"temperature": 0.3, "top_k": 5},
}
EPOCH = 100


def row(place: str, metrics: pd.DataFrame, curve: pd.DataFrame | None = None, **headlines: Quantity) -> Claim:
    curve = pd.DataFrame(columns=CURVES.names) if curve is None else curve
    names = ["text-headline", "text-learning-curves-epoch-log", "text-samples", "linear-theory-log"]
    samplings = {key: SAMPLINGS[key[1]] for key in zip(metrics["experiment"], metrics["sampling"], strict=True)}
    of = Evidence(metrics, curve, headlines or {"text": LOSS}, {"text": "small"}, {"text": [QUALITY]}, samplings, names)
    (found,) = (claim for claim in claims(of) if claim.place == place)
    return found


def test_every_figure_and_table_has_a_row_even_where_nothing_was_measured() -> None:
    nothing = Evidence(pd.DataFrame(columns=METRICS.names), pd.DataFrame(columns=CURVES.names), {}, {}, {}, {}, [])
    found = claims(nothing)
    assert [claim.place for claim in found] == PLACES
    assert {claim.holds for claim in found} == {"not here"}
    assert all(claim.claim and claim.paper and claim.ours for claim in found)


def test_a_claim_holds_where_every_seed_agrees() -> None:
    found = row("Fig. 2", measured())
    assert (found.holds, found.counterpart, found.setting) == ("holds", ("text-headline",), "small")
    assert "True in 3 of 3" in found.ours
    assert "replace 4.01 → 5.24, accumulate 4.01 → 4.01" in found.ours


def test_a_claim_holds_in_part_or_not_at_all() -> None:
    metrics = measured()
    metrics.loc[(metrics["seed"] == 1) & (metrics["regime"] == "replace") & (metrics["iteration"] == 4), "value"] = 3.0
    assert row("Fig. 2", metrics).holds == "in part"
    swapped = {"replace": [4.0, 3.9, 3.8, 3.7], "accumulate": [4.0, 4.2, 4.4, 4.6]}
    assert row("Fig. 2", measured(swapped)).holds == "does not hold"


def test_accumulate_may_not_rise_beyond_a_fiftieth() -> None:
    assert row("Fig. 2", measured({"replace": [4.0, 5.0], "accumulate": [4.0, 4.05]}, seeds=[0])).holds == "holds"
    assert (
        row("Fig. 2", measured({"replace": [4.0, 5.0], "accumulate": [4.0, 4.2]}, seeds=[0])).holds == "does not hold"
    )


def test_learning_curves_must_take_more_steps_under_accumulate() -> None:
    metrics = measured()
    growing = curves(metrics, lambda regime, t: EPOCH * (t if regime == "accumulate" else 1))
    assert row("Fig. 11", metrics, growing).holds == "holds"
    assert "steps under accumulate 100 → 400" in row("Fig. 11", metrics, growing).ours
    assert row("Fig. 11", metrics, curves(metrics, lambda *_: EPOCH)).holds == "in part"
    assert row("Fig. 10", metrics, growing).counterpart == ("text-learning-curves-epoch-log",)


COLD = {"replace": [4.0, 5.0, 6.0, 7.0], "accumulate": [4.0, 4.0, 4.0, 4.0]}
WARM = {"replace": [4.0, 4.1, 4.2, 4.3], "accumulate": [4.0, 4.0, 4.0, 4.0]}


def at_two_temperatures(cold: dict[str, list[float]], warm: dict[str, list[float]] = WARM, **about: str) -> Claim:
    colder = measured(cold, **{"experiment": "cold", "sampling": "temperature=0.3", **about})
    return row("Fig. 13", pd.concat([measured(warm), colder]))


def test_temperatures_are_compared_where_there_are_several() -> None:
    assert row("Fig. 13", measured()).ours == "Not run here: one sampling temperature."
    found = at_two_temperatures(COLD)
    assert found.holds == "holds"
    assert "cold under replace: +3.03 at 0.3, +0.330 at 1" in found.ours
    assert at_two_temperatures(COLD | {"replace": [4.0, 4.0, 4.0, 4.1]}).holds == "in part"


def test_temperatures_are_compared_at_the_last_iteration_that_both_have() -> None:
    """The warm chains are longer here, and so rise further in the end."""
    longer = WARM | {"replace": [4.0 + 0.5 * t for t in range(10)]}
    assert at_two_temperatures(COLD | {"replace": [4.0, 4.6, 5.2]}, longer).holds == "holds"


def test_temperatures_of_other_models_or_samplings_are_not_compared() -> None:
    others = [{"model": "Llama-2 (1M)"}, {"sampling": "temperature=0.3, top_k=5"}]
    assert [at_two_temperatures(COLD, **about).holds for about in others] == ["not here", "not here"]
    smaller = COLD | {"replace": [4.5, 5.5]}  # of less data: its first model is another one
    assert at_two_temperatures(smaller).holds == "not here"


def test_a_low_temperature_must_not_raise_the_loss_of_accumulated_data() -> None:
    assert at_two_temperatures(COLD | {"accumulate": [4.0, 4.5, 5.0, 6.0]}).holds == "in part"


def test_a_first_model_that_trains_otherwise_is_found_by_its_epochs() -> None:
    """Not by its steps: with packed rows these follow the lengths of what was sampled."""
    metrics = measured()
    assert row("Fig. 14", metrics, curves(metrics, lambda _, t: EPOCH * (3 if t == 1 else 1))).holds == "not here"
    found = row("Fig. 14", metrics, curves(metrics, lambda *_: EPOCH, lambda t: 3.0 if t == 1 else 1.0))
    assert found.holds == "holds"
    assert "3 times the later epochs at first" in found.ours


def simulated(noise: float = 0.05, **laws: np.ndarray) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    tables = [
        measured({regime: law}, seeds=[0], domain="linear", split="simulation", metric="excess_risk").assign(seed=seed)
        for regime, law in laws.items()
        for seed in range(30)
    ]
    metrics = pd.concat(tables, ignore_index=True)
    return metrics.assign(value=metrics["value"] * (1 + noise * generator.normal(size=len(metrics))))


def test_simulations_are_held_against_theory() -> None:
    n = np.arange(1, 101)
    true = {"replace": n * 1.0, "accumulate": np.cumsum(1 / n**2), "replace-multiple": np.cumsum(1 / n)}
    found = row("Fig. 16", simulated(**true), linear=RISK)
    assert found.holds == "holds"
    assert found.paper == "n=100: replace 100, accumulate 1.63, replace-multiple 5.19."
    assert found.setting == "simulated: 1 settings, 30 seeds, 100 iterations"
    wrong = row("Fig. 16", simulated(**true | {"accumulate": n * 1.0}), linear=RISK)
    assert wrong.holds == "in part"
    assert "theory in 2 of 3" in wrong.ours


def test_simulations_of_different_lengths_are_each_held_against_theory_at_their_end() -> None:
    n = np.arange(1, 101)
    long = simulated(replace=n * 1.0, accumulate=np.cumsum(1 / n**2)).assign(experiment="long", model="long")
    short = simulated(replace=n * 2.0, accumulate=2 * np.cumsum(1 / n**2)).assign(experiment="short", model="short")
    found = row("Fig. 7", pd.concat([long, short[short["iteration"] <= 5]]), linear=RISK)
    assert found.holds == "holds"
    assert "Error at n=5 or 10 over that at n=1: replace" in found.ours
    assert "of theory in 4 of 4" in found.ours


def test_a_seeds_first_and_last_error_belong_together() -> None:
    """Errors that are multiples of one another have the same ratio in every seed: it is known without an error."""
    first = np.array([1.0, 5.0, 2.0])
    assert ratio_of_means(3 * first, first) == (3.0, 0.0)
    ratio, error = ratio_of_means(np.array([2.0, 4.0]), np.array([1.0, 1.0]))
    assert (ratio, error) == (3.0, pytest.approx(1.0))  # the standard error of the mean of 2 and 4


@pytest.mark.parametrize("change", [lambda m: m[m["seed"] == 0], lambda m: m[m["iteration"] == 1]])
def test_one_seed_or_one_iteration_says_nothing_of_theory(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    n = np.arange(1, 101)
    assert row("Fig. 7", change(simulated(replace=n * 1.0)), linear=RISK).holds == "not here"


def test_regimes_are_compared_at_the_last_iteration_that_both_have() -> None:
    """Accumulate grows as fast here, but has run for half as long."""
    metrics = measured({"replace": [1.0, 2.0, 3.0, 4.0, 5.0], "accumulate": [1.0, 2.0]})
    found = row("Fig. 2", metrics)
    assert found.holds == "does not hold"
    assert "replace 1.01 → 2.02, accumulate 1.01 → 2.02" in found.ours


def test_the_share_of_the_rise_at_iteration_2_is_taken_seed_by_seed() -> None:
    rises = measured({"replace": [0.0, 5.0, 6.0], "accumulate": [0.0, 0.0, 0.0]}, domain="molecule")
    found = row("Fig. 4", rises[~((rises["seed"] == 0) & (rises["iteration"] == 2))], molecule=LOSS)
    assert "Of the rise under replace, 83% is there at iteration 2." in found.ours
    two = row("Fig. 4", rises[rises["iteration"] <= 2], molecule=LOSS)
    assert "at iteration 2" not in two.ours


def test_table_2_checks_signs_and_orders_at_the_fourth_iteration() -> None:
    regimes = {
        "replace": [4.0, 4.4, 4.8, 5.2],
        "accumulate": [4.0, 3.9, 3.9, 3.9],
        "replace-multiple": [4.0, 4.2, 4.4, 4.6],
    }
    assert row("Table 2", measured(regimes)).holds == "holds"
    above = regimes | {"replace-multiple": [4.0, 5.0, 6.0, 7.0]}
    assert row("Table 2", measured(above)).holds == "in part"
    assert row("Table 2", measured({"replace": [4.0, 4.4]})).ours == "No chain of this study reaches four iterations."


@pytest.mark.parametrize(("quality", "holds"), [((5.0, 4.0), "holds"), ((4.0, 5.0), "does not hold")])
def test_samples_are_held_against_the_first_model(quality: tuple[float, float], holds: str) -> None:
    replace, accumulate = quality
    values = {"replace": [4.0, replace], "accumulate": [4.0, accumulate]}
    samples = measured(values, metric="cross_entropy_under_first_model", split="synthetic", part=0)
    assert row("Table 1", pd.concat([measured(), samples])).holds == holds
