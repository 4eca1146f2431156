"""The steps of the loop, each on its own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selfloop.domains.gaussian.config import Data, Sampling
from selfloop.domains.gaussian.model import Model, fit, load_checkpoint, measured, save_checkpoint, weighted
from selfloop.domains.gaussian.steps import evaluate_model, generate, measure_baseline, prepare_data
from selfloop.domains.vectors import read_rows, write_rows
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams

DATA = Data(dimension=3, rows=40)


def prepare(folder: Path, data: Data, *splits: str) -> Path:
    outputs = {split: str(folder / split) for split in ("train", "test", "validation", *splits)}
    prepare_data.run(Job({}, outputs, prepare_data.Params(data=data)))
    return folder


def test_the_test_rows_have_exactly_the_moments_of_the_distribution(tmp_path: Path) -> None:
    test = read_rows(prepare(tmp_path, DATA) / "test")
    assert test.mean(axis=0) == pytest.approx(np.zeros(3))
    assert np.cov(test.T, bias=True) == pytest.approx(np.eye(3))


def test_a_reserve_adds_rows_and_changes_no_others(tmp_path: Path) -> None:
    plain = prepare(tmp_path / "a", DATA)
    more = prepare(tmp_path / "b", DATA.changed(reserve=0.5), "reserve")
    assert (read_rows(plain / "train") == read_rows(more / "train")).all()
    reserve = read_rows(more / "reserve")
    assert reserve.shape == (20, 3)
    assert not {*reserve[:, 0]} & {*read_rows(more / "train")[:, 0]}


@pytest.mark.parametrize(("name", "rows", "columns"), [("orl", 320, 64), ("diabetes", 354, 10)])
def test_packaged_rows_are_split(tmp_path: Path, name: Any, rows: int, columns: int) -> None:
    folder = prepare(tmp_path, Data(source="packaged", name=name))
    train, test = (read_rows(folder / split) for split in ("train", "test"))
    assert train.shape == (rows, columns)
    assert len({*train[:, 0].tolist()} & {*test[:, 0].tolist()}) < len(test) / 2 or name == "diabetes"


@pytest.mark.parametrize("sizes", [[60], [1, 59], [20, 20, 20]])
def test_a_fit_by_batches_is_numpy_s(sizes: list[int]) -> None:
    rows = np.random.default_rng(0).normal(5, 2, (60, 4))
    weights = np.random.default_rng(1).uniform(0.5, 2, 60)
    batches = np.split(rows, np.cumsum(sizes)[:-1])
    model, count = fit(weighted(batches, weights))
    assert count == 60
    assert model.mean == pytest.approx(np.average(rows, axis=0, weights=weights))
    assert model.covariance == pytest.approx(np.cov(rows.T, aweights=weights, bias=True))
    unbiased, _ = fit(weighted(batches, None), "unbiased")
    assert unbiased.covariance == pytest.approx(np.cov(rows.T))
    known, _ = fit(weighted(batches, None), "known")
    assert (known.covariance == np.eye(4)).all()


def test_an_unbiased_covariance_needs_two_rows() -> None:
    with pytest.raises(UserError, match=r"training.covariance: 'unbiased' needs training sets of two rows"):
        fit([(np.zeros((1, 2)), np.ones(1))], "unbiased")


def test_samples_have_the_model_s_moments_and_the_temperature_scales_them(tmp_path: Path) -> None:
    model = Model(np.array([1.0, -2.0]), np.array([[2.0, 0.5], [0.5, 1.0]]))
    (tmp_path / "checkpoint").mkdir()
    save_checkpoint(model, tmp_path / "checkpoint")
    assert (load_checkpoint(tmp_path / "checkpoint").covariance == model.covariance).all()
    write_rows(tmp_path / "real", np.zeros((20_000, 2)))
    for temperature in (1.0, 0.25):
        params = generate.Params(sampling=Sampling(temperature=temperature), streams="s", iteration=1, part=0)
        inputs = {"checkpoint": str(tmp_path / "checkpoint"), "real": str(tmp_path / "real")}
        generate.run(Job(inputs, {"part": str(tmp_path / f"part{temperature}")}, params))
        rows = read_rows(tmp_path / f"part{temperature}")
        assert rows.mean(axis=0) == pytest.approx(model.mean, abs=0.05)
        assert np.cov(rows.T) == pytest.approx(temperature * model.covariance, abs=0.06)


def test_a_model_is_measured_in_units_of_the_test_rows(tmp_path: Path) -> None:
    real = Model(np.array([1.0, 2.0]), np.diag([4.0, 9.0]))
    found = measured(Model(np.array([3.0, 2.0]), np.diag([1.0, 9.0])), real)
    assert found == pytest.approx(
        {"mean_error": 0.5, "variance": 0.625, "deviation": 0.75, "log_determinant": np.log(0.25) / 2}
    )
    assert "log_determinant" not in measured(Model(np.zeros(2), np.zeros((2, 2))), real)


def test_the_baseline_is_the_error_of_a_single_row(tmp_path: Path) -> None:
    folder = prepare(tmp_path, DATA)
    inputs = {split: str(folder / split) for split in ("train", "test")}
    measure_baseline.run(Job(inputs, {"measurements": str(tmp_path / "m.json")}, StepParams()))
    (row,) = json.loads((tmp_path / "m.json").read_text())
    assert row["value"] == pytest.approx((read_rows(folder / "train") ** 2).mean())
    (tmp_path / "checkpoint").mkdir()
    save_checkpoint(Model(np.zeros(3), np.eye(3)), tmp_path / "checkpoint")
    inputs = {"checkpoint": str(tmp_path / "checkpoint"), "test": str(folder / "test")}
    evaluate_model.run(Job(inputs, {"measurements": str(tmp_path / "n.json")}, StepParams()))
    values = {row["metric"]: row["value"] for row in json.loads((tmp_path / "n.json").read_text())}
    assert values == pytest.approx({"mean_error": 0, "variance": 1, "deviation": 1, "log_determinant": 0})
