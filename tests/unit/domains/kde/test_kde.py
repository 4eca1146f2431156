"""Kernel density estimates: the density, the loop's steps, and the stacked simulation with its law."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from selfloop.data.regimes import BUILT_IN, Regime, Source
from selfloop.domains.kde.config import Chains, Data
from selfloop.domains.kde.domain import DOMAIN, Experiment
from selfloop.domains.kde.model import Model, load_checkpoint, save_checkpoint, variance
from selfloop.domains.kde.rows import points, real_rows
from selfloop.domains.kde.steps import evaluate_model, generate, measure_baseline, prepare_data
from selfloop.domains.kde.steps.simulate_chains import expected, simulate
from selfloop.domains.vectors import read_rows, write_rows
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams
from selfloop.planning.check import check
from selfloop.simulation.config import table_of

NORMAL = Data(source="normal", dimension=2, rows=30)
SEEDS = 600


def chains(regime: Regime, **changes: Any) -> Chains:
    setting = {"source": "normal", "dimension": 2, "rows": 15, "test_rows": 20, "bandwidth": 0.5}
    length = {"iterations": 8, "seeds": SEEDS}
    return Chains.model_validate({"regime": regime.name, "table": table_of(regime), **setting, **length, **changes})


def test_the_density_is_scipy_s() -> None:
    generator = np.random.default_rng(0)
    own, X = generator.normal(size=(40, 2)), generator.normal(size=(9, 2))
    weights = generator.uniform(0.5, 2, 40)
    weights /= weights.sum()
    kernel = gaussian_kde(own.T, weights=weights)
    kernel.set_bandwidth(1.0)
    # SciPy's kernel has the shape of the data's covariance; in its own units that is a round one.
    L = np.linalg.cholesky(np.asarray(kernel.covariance))
    found = Model(np.linalg.solve(L, own.T).T, weights, 1.0).log_density(np.linalg.solve(L, X.T).T)
    assert found - np.log(np.diag(L)).sum() == pytest.approx(kernel.logpdf(X.T))


@pytest.mark.parametrize("source", ["blobs", "moons", "circles", "swiss-roll"])
def test_made_up_points_have_splits_of_their_own(source: Any) -> None:
    data = Data(source=source, rows=50, test_rows=20, reserve=0.5)
    train, test, reserve = real_rows(data)
    assert [len(split) for split in (train, test, reserve)] == [50, 20, 25]
    assert not set(train[:, 0]) & set(test[:, 0])
    assert (real_rows(data.changed(reserve=0.0))[0] == train).all()


def test_samples_are_points_with_the_kernel_s_noise(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save_checkpoint(Model(np.array([[0.0, 0.0], [10.0, 0.0]]), np.array([0.25, 0.75]), 0.5), tmp_path / "model")
    write_rows(tmp_path / "real", np.zeros((20_000, 2)))
    inputs = {"checkpoint": str(tmp_path / "model"), "real": str(tmp_path / "real")}
    generate.run(Job(inputs, {"part": str(tmp_path / "part")}, generate.Params(streams="s", iteration=1, part=0)))
    rows = read_rows(tmp_path / "part")
    assert (rows[:, 0] > 5).mean() == pytest.approx(0.75, abs=0.01)
    assert rows[:, 1].std() == pytest.approx(0.5, abs=0.01)
    assert variance(*[load_checkpoint(tmp_path / "model").points]) == pytest.approx(12.5)


def test_a_model_is_measured_on_the_test_rows(tmp_path: Path) -> None:
    folders = {name: str(tmp_path / name) for name in ("train", "test", "validation")}
    prepare_data.run(Job({}, folders, prepare_data.Params(data=NORMAL)))
    (tmp_path / "model").mkdir()
    save_checkpoint(Model(np.zeros((1, 2)), np.ones(1), 1.0), tmp_path / "model")
    found = {}
    for step in (measure_baseline, evaluate_model):
        inputs = {**folders, "checkpoint": str(tmp_path / "model")}
        step.run(Job(inputs, {"measurements": str(tmp_path / "m.json")}, StepParams()))
        found[step] = {row["metric"]: row["value"] for row in json.loads((tmp_path / "m.json").read_text())}
    test = read_rows(tmp_path / "test")
    exact = float((0.5 * (test**2).sum(axis=1)).mean() + np.log(2 * np.pi))
    assert found[evaluate_model] == pytest.approx({"negative_log_likelihood": exact, "variance": 1.0})
    assert found[measure_baseline]["negative_log_likelihood"] == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize(
    "regime",
    [
        *(BUILT_IN[name] for name in ("replace", "accumulate", "accumulate-subsample")),
        Regime("golden", (Source("fresh", weight=0.618), Source("previous", weight=0.382))),
    ],
)
def test_the_variance_follows_its_law(regime: Regime) -> None:
    own = chains(regime)
    measured, law = simulate(own, np.zeros((5, 2)), None), expected(own, own.sets, None)
    error = measured["variance"].std(axis=0, ddof=1) / SEEDS**0.5
    assert np.abs((measured["variance"].mean(axis=0) - law["variance"]) / error).max() < 4.5


def test_under_replace_the_variance_grows_by_the_kernel_s() -> None:
    own = chains(BUILT_IN["replace"])
    S = [1 - 1 / 15]
    for _ in range(7):
        S.append((1 - 1 / 15) * (S[-1] + 0.25))
    assert expected(own, own.sets, None)["variance"] == pytest.approx(np.array(S) + 0.25)


def test_given_rows_are_those_of_all_seeds() -> None:
    own = chains(BUILT_IN["replace"], source="moons", dimension=None, seeds=300)
    train, test, _ = real_rows(own.data)
    measured, law = simulate(own, test, train), expected(own, own.sets, train)
    assert np.ptp(measured["negative_log_likelihood"][:, 0]) < 1e-12
    error = measured["variance"].std(axis=0, ddof=1)[1:] / 300**0.5
    assert np.abs((measured["variance"].mean(axis=0) - law["variance"])[1:] / error).max() < 4.5
    direct = Model(train, np.full(15, 1 / 15), 0.5).log_density(test[:100]).mean()
    assert measured["negative_log_likelihood"][0, 0] == pytest.approx(-direct)


def test_a_weighted_sample_takes_points_by_their_weight() -> None:
    """Fresh rows at weight 9 leave a tenth of a sample to the previous model's far away rows."""
    regime = Regime("own", (Source("fresh", weight=9.0), Source("previous", weight=1.0)))
    own = chains(regime, iterations=3, seeds=50)
    law = expected(own, own.sets, None)["variance"]
    assert simulate(own, np.zeros((5, 2)), None)["variance"].mean(axis=0) == pytest.approx(law, rel=0.1)


def test_settings_and_problems_are_said() -> None:
    entry: dict[str, Any] = {"domain": "kde", "regimes": ["replace"], "iterations": 2, "seeds": [0]}
    data = {"source": "moons", "rows": 50}
    grid = {"grid": [{"rows": [20, 50], "bandwidth": [0.1, 0.5, 1]}], "iterations": 3, "seeds": 4}
    found = check({"experiments": {"a": {**entry, "data": data, "simulation": grid}}}).experiments["a"]
    assert isinstance(found, Experiment)
    labels = [DOMAIN.chains.model_validate(each).label for each in DOMAIN.simulations(found)]
    assert len(labels) == 6 and labels[0] == "moons, n=20, h=0.1"
    with pytest.raises(UserError, match=r"data.dimension: 3 is given with source: moons; leave it out"):
        check({"experiments": {"a": {**entry, "data": {**data, "dimension": 3}}}})
    assert points(NORMAL, 5, 1).shape == (5, 2)
