"""Logistic regression: the published first model, fits, the loop's steps, and the stacked simulation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfloop.data import training_set
from selfloop.data.regimes import BUILT_IN, Regime, Source
from selfloop.domains.logistic.config import Chains, Data, Training
from selfloop.domains.logistic.domain import DOMAIN, Experiment
from selfloop.domains.logistic.model import fit, load_checkpoint, measured
from selfloop.domains.logistic.rows import probabilities, read_rows, real_rows
from selfloop.domains.logistic.steps import evaluate_model, generate, measure_baseline, prepare_data, train
from selfloop.domains.logistic.steps.simulate_chains import simulate
from selfloop.jobs.job import Job, StepParams
from selfloop.paper.published import published_laws
from selfloop.simulation.config import table_of

DIABETES = Data(source="packaged", name="diabetes", seed=123456)
NORMAL = Data(source="normal", dimension=3, rows=200, signal=2.0)


def chains(regime: str | Regime, **changes: Any) -> Chains:
    known = BUILT_IN[regime] if isinstance(regime, str) else regime
    length = {"iterations": 4, "seeds": 50, "data": NORMAL.plain, "tolerance": 1e-4}
    return Chains.model_validate({"regime": known.name, "table": table_of(known), **length, **changes})


def test_the_first_model_of_the_patients_has_the_published_loss() -> None:
    """Dey and Donoho 2024 stop L-BFGS at scikit-learn's default tolerance; the minimum lies elsewhere."""
    (X, y), test, _ = real_rows(DIABETES)
    assert X.shape == (309, 10)
    assert measured(fit(X, y, None, 1e-4), *test)["log_loss"] == pytest.approx(0.4284598, abs=1e-6)
    minimum = measured(fit(X, y, None, 1e-12), *test)["log_loss"]
    assert minimum == pytest.approx(0.4304827, abs=1e-6)
    for regime in ("replace", Regime("half", (Source("previous", 0.5),))):  # of labels, and of rows
        stacked = simulate(chains(regime, data=DIABETES.plain, iterations=2, seeds=2))["log_loss"]
        assert stacked[:, 0] == pytest.approx(0.4284598, abs=1e-6)
        assert stacked[0, 1] != stacked[1, 1]


def test_published_values_stand_beside_the_same_setting_alone() -> None:
    entry: dict[str, Any] = {"domain": "logistic", "regimes": ["replace", "real"], "iterations": 2, "seeds": [0]}
    entries = {
        name: Experiment.model_validate({**entry, "data": data.plain})
        for name, data in (("a", DIABETES), ("b", DIABETES.changed(seed=1)), ("c", NORMAL))
    }
    found = published_laws(DOMAIN, entries)
    assert {(row["experiment"], row["model"], row["regime"]) for row in found} == {("a", "diabetes", "replace")}
    assert found[0]["value"] == 0.4284598


@pytest.mark.parametrize(("data", "rows"), [(DIABETES, 103), (NORMAL, 200)])
def test_a_reserve_has_further_rows_for_fresh_ones_and_oracles(data: Data, rows: int, tmp_path: Path) -> None:
    """Of packaged rows the reserve takes its share; normal ones are drawn beside those that there were."""
    train, test, none = real_rows(data)
    assert len(none[0]) == 0
    kept, same_test, further = real_rows(data.changed(reserve=2.0))
    assert (len(kept[0]), len(further[0])) == (rows, 2 * rows)
    for found, whole in ((kept, train), (same_test, test)):
        assert np.array_equal(found[0], whole[0][: len(found[0])])
        assert np.array_equal(found[1], whole[1][: len(found[1])])
    assert not {tuple(row) for row in further[0]} & {tuple(row) for row in np.concatenate([kept[0], test[0]])}
    output = {name: str(tmp_path / name) for name in ("train", "test", "validation", "reserve")}
    prepare_data.run(Job({}, output, prepare_data.Params(data=data.changed(reserve=2.0))))
    X, y = read_rows(tmp_path / "reserve")
    assert np.array_equal(X, further[0])
    assert np.array_equal(y, further[1])


def test_a_reserve_of_all_rows_is_refused_and_of_normal_ones_changes_no_simulation() -> None:
    entry: dict[str, Any] = {"domain": "logistic", "regimes": ["replace"], "iterations": 2, "seeds": [0]}

    def experiment(data: Data, reserve: float) -> Experiment:
        return Experiment.model_validate({**entry, "data": data.changed(reserve=reserve).plain, "simulation": {}})

    (problem,) = DOMAIN.problems(experiment(DIABETES, 309.0))
    assert problem == "data.reserve: 309 leaves none of the 309 rows of 'diabetes' to train on."
    for data, same in ((NORMAL, True), (DIABETES, False)):
        one, other = (DOMAIN.simulations(experiment(data, reserve)) for reserve in (0.0, 2.0))
        assert (one == other) == same


def test_weights_count_rows_in_the_loss() -> None:
    (X, y), _, _ = real_rows(NORMAL)
    weights = np.where(np.arange(200) < 50, 2.5, 0.5)
    twice = np.repeat(np.arange(200), np.where(np.arange(200) < 50, 5, 1))
    assert fit(X, y, weights, 1e-12) == pytest.approx(fit(X[twice], y[twice], None, 1e-12), abs=1e-5)


def test_labels_that_are_all_alike_have_a_model() -> None:
    w = fit(np.ones((4, 2)), np.ones(4), None, 1e-4)
    assert probabilities(np.ones((1, 2)), w) == pytest.approx(1 - 1 / 8)


def test_the_loop_draws_labels_for_the_same_inputs(tmp_path: Path) -> None:
    folders = {name: str(tmp_path / name) for name in ("train", "test", "validation", "set", "model", "part")}
    prepare_data.run(Job({}, folders, prepare_data.Params(data=NORMAL)))
    take = {"iteration": 0, "part": 0, "amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}
    params = training_set.Params(streams="s", takes=[take], budget=None)
    inputs: dict[str, Any] = {"real": folders["train"], "parts": [folders["train"]]}
    training_set.run(Job(inputs, {"training_set": folders["set"]}, params))
    made = {"checkpoint": folders["model"], "learning_curve": str(tmp_path / "curve.parquet")}
    train.run(Job({"training_set": folders["set"]}, made, train.Params(training=Training())))
    X, y = read_rows(tmp_path / "train")
    w = load_checkpoint(tmp_path / "model")
    assert w == pytest.approx(fit(X, y, None, 1e-4))
    sampled = {"checkpoint": folders["model"], "real": folders["train"]}
    generate.run(Job(sampled, {"part": folders["part"]}, generate.Params(streams="s", iteration=1, part=0)))
    inputs_again, labels = read_rows(tmp_path / "part")
    assert (inputs_again == X).all()
    assert abs(labels.mean() - probabilities(X, w).mean()) < 0.1
    found = {}
    for step in (measure_baseline, evaluate_model):
        step.run(Job({**folders, **made}, {"measurements": str(tmp_path / "m.json")}, StepParams()))
        found[step] = json.loads((tmp_path / "m.json").read_text())[0]["value"]
    assert found[evaluate_model] < found[measure_baseline] < 0.7


def test_the_stacked_fit_is_scikit_learn_s() -> None:
    """Of the labels that a seed has drawn, whatever mixture they are."""
    from selfloop.domains.logistic.simulate import Labels

    (X, y), test, _ = real_rows(NORMAL)
    other = (np.random.default_rng(0).random((2, 200)) < 0.5).astype(float)
    domain = Labels(2, (X, y), test)
    real = domain.real(np.random.default_rng(0))
    w = domain.fit([(real, np.full(2, 0.25)), (other, np.full(2, 0.75))])
    for seed in range(2):
        weights = np.r_[np.full(200, 0.5), np.full(200, 1.5)]
        assert w[seed] == pytest.approx(fit(np.r_[X, X], np.r_[y, other[seed]], weights, 1e-12), abs=1e-4)


def test_replacing_loses_what_accumulating_keeps() -> None:
    losses = {
        name: simulate(chains(name, iterations=10))["log_loss"].mean(axis=0) for name in ("replace", "accumulate")
    }
    assert losses["replace"][0] == losses["accumulate"][0]
    assert losses["replace"][-1] - losses["replace"][0] > 3 * abs(losses["accumulate"][-1] - losses["accumulate"][0])


def test_rows_that_a_regime_draws_are_fitted_as_by_scikit_learn() -> None:
    """Of half of the rows of each data set, some of which count more."""
    from selfloop.domains.logistic.simulate import LabelsByRows

    (X, y), test, _ = real_rows(NORMAL)
    chosen = np.random.default_rng(0).permuted(np.tile(np.arange(200), (2, 1)), axis=1)[:, :120]
    weights = np.tile(np.where(np.arange(120) < 40, 3.0, 1.0), (2, 1))
    rows = np.stack([chosen, y[chosen]], axis=2)
    w = LabelsByRows(2, (X, y), test).fit(rows, weights / weights.sum(axis=1, keepdims=True))
    for seed in range(2):
        own = X[chosen[seed]], y[chosen[seed]]
        assert w[seed] == pytest.approx(fit(*own, weights[seed] / weights[seed].mean(), 1e-12), abs=1e-4)


def test_a_budget_lies_between_replace_and_accumulate_and_fewer_rows_lose_more() -> None:
    pool, half = (
        Regime("pool", (Source("real"), Source("all")), budget=1.0),
        Regime("half", (Source("previous", 0.5),)),
    )
    found = {name: simulate(chains(name, iterations=10, seeds=100)) for name in ("replace", "accumulate", pool, half)}
    first, last = ({name: values["log_loss"].mean(axis=0)[at] for name, values in found.items()} for at in (0, -1))
    assert first[pool] == pytest.approx(first["accumulate"])
    assert last["accumulate"] < last[pool] < last["replace"] < last[half]
