"""Every figure and table of the paper is covered by a row, and a row says what the tables say."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from selfloop.data.quantity import Quantity
from selfloop.data.tidy import CURVES, METRICS
from selfloop.paper.claims import claims, ratio_of_means
from selfloop.paper.evidence import Claim, Evidence

from ..report.conftest import curves, measured

LOSS = Quantity("cross_entropy", "test", "Test cross-entropy", "nats per token")
RISK = Quantity("excess_risk", "test", "Excess risk", "squared unit of y")
QUALITY = Quantity("cross_entropy_under_first_model", "synthetic", "Cross-entropy under model 1", role="quality")
VARIETY = Quantity("variance", "synthetic", "Variance", role="diversity")
ERROR = Quantity("mse", "test", "Reconstruction error", role="reconstruction")
SAMPLINGS: dict[str, dict[str, Any]] = {
    "temperature=1.0": {"temperature": 1.0, "top_k": None},
    "temperature=0.3": {"temperature": 0.3, "top_k": None},
    "temperature=0.3, top_k=5": {"temperature": 0.3, "top_k": 5},
}
Losses = Mapping[str, Sequence[float]]


def evidence(metrics: pd.DataFrame, curve: pd.DataFrame | None = None, **headlines: Quantity) -> Evidence:
    curve = pd.DataFrame(columns=CURVES.names) if curve is None else curve
    names = ["text-headline", "text-learning-curves-epoch-log", "text-samples", "linear-theory-log"]
    samplings = {key: SAMPLINGS[key[1]] for key in zip(metrics["experiment"], metrics["sampling"], strict=True)}
    quantities = {"text": [QUALITY], "image": [VARIETY, ERROR]}
    return Evidence(metrics, curve, headlines or {"text": LOSS}, {"text": "small"}, quantities, samplings, names, {})


def row(place: str, metrics: pd.DataFrame, curve: pd.DataFrame | None = None, **headlines: Quantity) -> Claim:
    (found,) = (claim for claim in claims(evidence(metrics, curve, **headlines)) if claim.place == place)
    return found


def words(claim: Claim) -> dict[str, str]:
    return {check.part: check.word for check in claim.checks}


def test_every_figure_and_table_is_covered_even_where_nothing_was_measured() -> None:
    nothing = Evidence(pd.DataFrame(columns=METRICS.names), pd.DataFrame(columns=CURVES.names), {}, {}, {}, {}, [], {})
    found = claims(nothing)
    numbers = [int(number) for claim in found if "Fig" in claim.place for number in re.findall(r"\d+", claim.place)]
    assert sorted(numbers) == [2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16]
    assert {"Table 1", "Table 2"} < {claim.place for claim in found}
    assert {claim.word for claim in found} == {"not tested"}
    assert all(claim.claim and claim.paper and claim.note for claim in found)


FIRST = "Figs. 2, 3, 9, 10"


def test_a_claim_is_consistent_where_all_its_parts_are() -> None:
    found = row(FIRST, measured())
    assert (found.word, found.setting) == ("consistent", "small")
    assert found.counterpart == ("text-headline", "text-learning-curves-epoch-log")
    replaced = found.checks[0]
    assert (replaced.series, replaced.part, replaced.estimate.seeds) == ("GPT-2 (1M)", "replace rises to n=4", 3)
    assert replaced.estimate.value == pytest.approx(1.23 / 1.99, abs=0.01)


def test_a_part_that_is_surely_wrong_contradicts_it() -> None:
    found = row(FIRST, measured({"replace": [4.0, 3.9, 3.8, 3.7], "accumulate": [4.0, 4.2, 4.4, 4.6]}))
    assert words(found) == {"replace rises to n=4": "contradicted", "accumulate does not": "contradicted"}
    assert found.word == "contradicted"


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_few_seeds_are_never_consistent_on_their_own_word(seeds: list[int]) -> None:
    """Two seeds have an interval, if a wide one."""
    found = row(FIRST, measured({"replace": [4.0, 4.3], "accumulate": [4.0, 4.09]}, seeds=seeds))
    assert found.word == "too noisy"


def test_seeds_that_disagree_are_too_noisy() -> None:
    metrics = measured()
    metrics.loc[(metrics["seed"] == 1) & (metrics["regime"] == "replace") & (metrics["iteration"] == 4), "value"] = 3.0
    assert row(FIRST, metrics).word == "too noisy"


def test_regimes_are_compared_at_the_last_iteration_that_both_have() -> None:
    """Accumulate grows as fast here, but has run for half as long."""
    found = row(FIRST, measured({"replace": [1.0, 2.0, 3.0, 4.0, 5.0], "accumulate": [1.0, 2.0]}))
    assert words(found) == {"replace rises to n=2": "consistent", "accumulate does not": "contradicted"}


def test_a_first_model_that_has_not_learnt_enough_is_not_tested() -> None:
    of = evidence(measured())
    weak = Evidence(**{**vars(of), "inadequate": {("text", "GPT-2 (1M)"): "Model 1 has not learnt enough."}})
    found = claims(weak)[0]
    assert (found.word, found.note) == ("not tested", "Model 1 has not learnt enough.")


# Tables that contradict what the paper says, or say nothing of it, and must not pass for it.


def image(losses: Losses, quantity: Quantity = LOSS, baseline: float | None = 1.0) -> pd.DataFrame:
    about = {"metric": quantity.metric, "split": quantity.split, "domain": "image"}
    return measured(losses, baseline=baseline, **about)


def test_nearly_all_of_the_rise_must_be_there_at_iteration_2() -> None:
    def molecule(second: float) -> Claim:
        losses = {"replace": [1.0, 1.0 + second, 2.0], "accumulate": [1.0, 1.0, 1.0]}
        return row("Fig. 4", measured(losses, domain="molecule"), molecule=LOSS)

    assert molecule(0.01).word == "contradicted"
    assert molecule(0.95).word == "consistent"


@pytest.mark.parametrize(("place", "quantity"), [("Fig. 5", LOSS), ("Fig. 15", ERROR)])
def test_accumulated_images_must_rise_much_more_slowly(place: str, quantity: Quantity) -> None:
    def of(accumulate: float) -> str:
        losses = {"replace": [0.2, 0.6], "accumulate": [0.2, accumulate]}
        metrics = pd.concat([image(losses), image(losses, ERROR)])
        return row(place, metrics, image=LOSS).word

    assert of(0.2 + 0.99 * 0.4) == "contradicted"
    assert of(0.25) == "consistent"


def test_replaced_images_must_end_as_a_single_mode_and_accumulated_ones_stay_diverse() -> None:
    def of(replace: float, accumulate: float) -> str:
        losses = {"replace": [1.0, replace], "accumulate": [1.0, accumulate]}
        return row("Fig. 6", image(losses, VARIETY, baseline=None), image=LOSS).word

    assert of(0.02, 0.021) == "contradicted"
    assert of(0.02, 0.98) == "consistent"


TABLE_2 = {
    "replace": [4.0, 4.4, 4.8, 5.2],
    "accumulate": [4.0, 3.9, 3.8, 3.7],
    "replace-multiple": [4.0, 4.2, 4.4, 4.6],
}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "consistent"),
        ({"accumulate": [4.0, 4.02, 4.05, 4.08]}, "contradicted"),  # it should go down
        ({"replace-multiple": [4.0, 5.0, 6.0, 7.0]}, "contradicted"),
        ({"replace": [4.0, 3.9, 3.8, 3.7]}, "contradicted"),
    ],
)
def test_table_2_checks_signs_and_orders_at_the_fourth_iteration(change: Losses, word: str) -> None:
    assert row("Table 2", measured({**TABLE_2, **change})).word == word


def test_table_2_needs_four_iterations() -> None:
    assert row("Table 2", measured({"replace": [4.0, 4.4]})).word == "not tested"


def test_where_nothing_happens_a_claim_is_rarely_consistent() -> None:
    """A third of such tables held once, with one seed."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(60):
        metrics = measured({"replace": [4.0] * 4, "accumulate": [4.0] * 4})
        noise = generator.normal(0, 0.03, len(metrics)) * (metrics["iteration"] > 1)
        found.append(row(FIRST, metrics.assign(value=metrics["value"] + noise)).word)
    assert found.count("consistent") <= 3


def test_learning_curves_must_take_more_steps_under_accumulate() -> None:
    metrics = measured()
    growing = curves(metrics, lambda regime, t: 100 * (t if regime == "accumulate" else 1))
    found = row("Figs. 11, 12", metrics, growing)
    assert (found.word, found.checks[0].estimate.value) == ("consistent", 3.0)
    assert row("Figs. 11, 12", metrics, curves(metrics, lambda *_: 100)).word != "consistent"


COLD = {"replace": [4.0, 4.5, 5.0, 5.5], "accumulate": [4.0, 3.97, 3.97, 3.97]}
WARM = {"replace": [4.0, 4.1, 4.2, 4.3], "accumulate": [4.0, 3.97, 3.97, 3.97]}


def at_two_temperatures(cold: Losses, warm: Losses = WARM, **about: str) -> Claim:
    colder = measured(cold, **{"experiment": "cold", "sampling": "temperature=0.3", **about})
    return row("Fig. 13", pd.concat([measured(warm), colder]))


def test_temperatures_are_compared_where_there_are_several() -> None:
    assert row("Fig. 13", measured()).note == "Not run here: one sampling temperature."
    assert at_two_temperatures(COLD).word == "consistent"
    assert at_two_temperatures(COLD | {"replace": [4.0, 4.0, 4.0, 4.1]}).word == "contradicted"


def test_temperatures_are_compared_at_the_last_iteration_that_both_have() -> None:
    """The warm chains are longer here, and so rise further in the end."""
    longer = WARM | {"replace": [4.0 + 0.2 * t for t in range(10)]}
    found = at_two_temperatures(COLD | {"replace": [4.0, 4.6, 5.2]}, longer)
    assert next(iter(words(found))) == "replace at 0.3 rises more than at 1, to n=3 (difference)"
    assert found.word == "consistent"


def test_temperatures_of_other_models_or_samplings_are_not_compared() -> None:
    others = [{"model": "Llama-2 (1M)"}, {"sampling": "temperature=0.3, top_k=5"}]
    assert [at_two_temperatures(COLD, **about).word for about in others] == ["not tested", "not tested"]
    smaller = COLD | {"replace": [4.5, 5.5], "accumulate": [4.5, 4.5]}  # of less data: another first model
    assert at_two_temperatures(smaller).word == "not tested"


def test_a_low_temperature_must_not_raise_the_loss_of_accumulated_data() -> None:
    assert at_two_temperatures(COLD | {"accumulate": [4.0, 4.5, 5.0, 5.5]}).word == "contradicted"


def test_a_first_model_that_trains_otherwise_is_found_by_its_epochs() -> None:
    """Not by its steps: with packed rows these follow the lengths of what was sampled."""
    metrics = measured()
    assert row("Fig. 14", metrics, curves(metrics, lambda _, t: 100 * (3 if t == 1 else 1))).word == "not tested"
    found = row("Fig. 14", metrics, curves(metrics, lambda *_: 100, lambda t: 3.0 if t == 1 else 1.0))
    assert found.word == "consistent"
    assert found.checks[0].part == "replace rises to n=4, after 3 times the later epochs at first"


@pytest.mark.parametrize(
    ("quality", "word"), [((5.0, 3.9), "consistent"), ((4.0, 5.0), "contradicted"), ((5.0, 4.9), "contradicted")]
)
def test_samples_are_held_against_the_first_model(quality: tuple[float, float], word: str) -> None:
    replace, accumulate = quality
    values = {"replace": [4.0, replace], "accumulate": [4.0, accumulate]}
    about = {"metric": "cross_entropy_under_first_model", "split": "synthetic", "part": 0}
    samples = measured(values, baseline=None, **about)
    assert row("Table 1", pd.concat([measured(), samples])).word == word


def simulated(noise: float = 0.05, **laws: np.ndarray) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    about = {"domain": "linear", "split": "simulation", "metric": "excess_risk"}
    tables = [
        measured({regime: law}, seeds=[0], baseline=None, **about).assign(seed=seed)
        for regime, law in laws.items()
        for seed in range(30)
    ]
    metrics = pd.concat(tables, ignore_index=True)
    return metrics.assign(value=metrics["value"] * (1 + noise * generator.normal(size=len(metrics))))


def test_simulations_are_held_against_theory() -> None:
    n = np.arange(1, 101)
    true = {"replace": n * 1.0, "accumulate": np.cumsum(1 / n**2), "replace-multiple": np.cumsum(1 / n)}
    found = row("Fig. 16", simulated(**true), linear=RISK)
    assert found.word == "consistent"
    assert found.paper == "n=100: replace 100, accumulate 1.63, replace-multiple 5.19."
    assert found.setting == "simulated: 1 settings, 30 seeds, 100 iterations"
    wrong = row("Fig. 16", simulated(**true | {"accumulate": n * 1.0}), linear=RISK)
    assert [check.word for check in wrong.checks] == ["consistent", "contradicted", "consistent"]


def test_a_setting_whose_theory_is_another_is_not_held_against_the_laws_of_least_squares() -> None:
    """Ridge is bounded under replace."""
    n = np.arange(1, 101)

    def with_theory(law: np.ndarray) -> Claim:
        about = {"domain": "linear", "split": "simulation-theory", "metric": "excess_risk"}
        theory = measured({"replace": law}, seeds=[0], baseline=None, **about)
        theory["value"] = law  # without what the seeds of `measured` add
        return row("Fig. 7", pd.concat([simulated(replace=law), theory]), linear=RISK)

    assert with_theory(np.cumsum(1 / n**2)).word == "not tested"
    assert with_theory(n * 1.0).word == "consistent"


def test_simulations_of_different_lengths_are_each_held_against_theory_at_their_end() -> None:
    n = np.arange(1, 101)
    long = simulated(replace=n * 1.0, accumulate=np.cumsum(1 / n**2)).assign(experiment="long", model="long")
    short = simulated(replace=n * 2.0, accumulate=2 * np.cumsum(1 / n**2)).assign(experiment="short", model="short")
    found = row("Fig. 7", pd.concat([long, short[short["iteration"] <= 5]]), linear=RISK)
    assert found.word == "consistent"
    assert "of 2 settings; 100% within 3 standard errors" in found.checks[0].part


def test_a_seeds_first_and_last_error_belong_together() -> None:
    """Errors that are multiples of one another have the same ratio in every seed: it is known without an error."""
    first = np.array([1.0, 5.0, 2.0])
    assert ratio_of_means(3 * first, first) == (3.0, 0.0)
    ratio, error = ratio_of_means(np.array([2.0, 4.0]), np.array([1.0, 1.0]))
    assert (ratio, error) == (3.0, pytest.approx(1.0))  # the standard error of the mean of 2 and 4


@pytest.mark.parametrize("change", [lambda m: m[m["seed"] == 0], lambda m: m[m["iteration"] == 1]])
def test_one_seed_or_one_iteration_says_nothing_of_theory(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    n = np.arange(1, 101)
    assert row("Fig. 7", change(simulated(replace=n * 1.0)), linear=RISK).word == "not tested"
