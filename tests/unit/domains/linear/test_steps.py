"""The steps of the loop, each on its own: least squares by batches, an exact test split, the same X in every part."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from selfloop.data import training_set
from selfloop.domains.linear.config import Data, Training
from selfloop.domains.linear.data.rows import read_rows, write_rows
from selfloop.domains.linear.data.sources import covariance, factor, real_noise, target
from selfloop.domains.linear.model.checkpoint import load_checkpoint, save_checkpoint
from selfloop.domains.linear.steps import evaluate_model, evaluate_part, generate, measure_profile, prepare_data, train
from selfloop.domains.linear.steps.train import fit
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams

ROOT = Path(__file__).parents[4]
SIGMA = [[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 4.0]]
DATA = Data(dimension=3, rows=40, noise_variance=0.25)


def save(w: np.ndarray, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    save_checkpoint(w, folder)


def measurements(path: Path) -> list[dict[str, Any]]:
    """What an evaluation wrote."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return rows


def prepare(folder: Path, **changes: Any) -> Path:
    """The folder in which both splits of changed data lie."""
    splits = ("train", "test", "validation", *(("reserve",) if changes.get("reserve") else ()))
    outputs = {split: str(folder / split) for split in splits}
    prepare_data.run(Job({}, outputs, prepare_data.Params(data=DATA.changed(**changes))))
    return folder


@pytest.fixture
def drawn(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.standard_normal((50, 7)), generator.standard_normal(50)


@pytest.mark.parametrize("sizes", [[50], [3, 47], [10] * 5])
def test_a_fit_by_batches_is_the_pseudo_inverse(drawn: tuple[np.ndarray, np.ndarray], sizes: list[int]) -> None:
    X, y = drawn
    ends = np.cumsum(sizes)[:-1]
    w, rank, rows = fit(zip(np.split(X, ends), np.split(y, ends), strict=True), ridge=0.0)
    assert (rank, rows) == (7, 50)
    assert np.abs(w - np.linalg.pinv(X) @ y).max() < 1e-13


def test_ridge_is_per_row(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = drawn
    expected = np.linalg.solve(X.T @ X / 50 + 0.3 * np.eye(7), X.T @ y / 50)
    w, rank, _ = fit([(X, y)], ridge=0.3)
    assert np.abs(w - expected).max() < 1e-13
    assert rank == 7
    twice, _, _ = fit([(X, y), (X, y)], ridge=0.3)
    assert np.abs(twice - expected).max() < 1e-13


def test_the_learning_curve_comes_last_and_says_that_the_training_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    real, target, curve = str(prepare(tmp_path) / "train"), str(tmp_path / "training-set"), tmp_path / "curve.parquet"
    takes = [{"iteration": 0, "part": 0, "amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}]
    concatenate = training_set.Params(streams="t", takes=takes, budget=None)
    training_set.run(Job({"real": real, "parts": [real]}, {"training_set": target}, concatenate))
    outputs = {"checkpoint": str(tmp_path / "checkpoint"), "learning_curve": str(curve)}
    monkeypatch.setattr(train, "save_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train.run(Job({"training_set": target}, outputs, train.Params(training=Training(), data=DATA, seed=0)))
    assert not curve.exists()


def test_too_few_distinct_rows_are_fitted_with_the_shortest_parameters(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = (np.concatenate([each[:4]] * 3) for each in drawn)
    w, rank, rows = fit([(X[:5], y[:5]), (X[5:], y[5:])], ridge=0.0)
    assert (rank, rows) == (4, 12)
    assert np.abs(w - np.linalg.pinv(X) @ y).max() < 1e-12


def test_a_data_set_of_which_no_row_is_drawn_is_no_part_of_the_fit(tmp_path: Path) -> None:
    parts = [str(prepare(tmp_path / str(place), seed=place) / "train") for place in range(2)]
    whole = {"iteration": 0, "part": 0, "amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}
    takes = [{**whole, "amount": 0.001}, whole]
    params = training_set.Params(streams="abc", takes=takes, budget=None)
    folder, outputs = (
        str(tmp_path / "training-set"),
        {name: str(tmp_path / name) for name in ("checkpoint", "learning_curve")},
    )
    training_set.run(Job({"real": parts[0], "parts": parts}, {"training_set": folder}, params))
    train.run(Job({"training_set": folder}, outputs, train.Params(training=Training(), data=DATA, seed=0)))
    X, y, _ = read_rows(Path(parts[1]))
    y = y + real_noise(DATA, 0)
    assert np.abs(load_checkpoint(tmp_path / "checkpoint") - np.linalg.pinv(X) @ y).max() < 1e-13


def test_real_labels_have_the_noise_of_the_chains_seed_and_sampled_ones_their_own(tmp_path: Path) -> None:
    X, y, _ = read_rows(prepare(tmp_path) / "train")
    part, (_, labels, _) = sample(tmp_path, np.array([1.0, 2.0, 3.0]), "part")
    takes = [{"iteration": 0, "part": 0, "amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}] * 2
    folder = tmp_path / "training-set"
    inputs = {"real": str(tmp_path / "train"), "parts": [str(tmp_path / "train"), str(part)]}
    training_set.run(
        Job(inputs, {"training_set": str(folder)}, training_set.Params(streams="t", takes=takes, budget=None))
    )
    fits = []
    for seed in (0, 1):
        outputs = {name: str(tmp_path / f"{name}{seed}") for name in ("checkpoint", "learning_curve")}
        train.run(Job({"training_set": str(folder)}, outputs, train.Params(training=Training(), data=DATA, seed=seed)))
        fits.append(load_checkpoint(tmp_path / f"checkpoint{seed}"))
        expected = np.linalg.pinv(np.vstack([X, X])) @ np.concatenate([y + real_noise(DATA, seed), labels])
        assert np.abs(fits[-1] - expected).max() < 1e-13
    assert np.abs(fits[0] - fits[1]).max() > 1e-3


def test_the_noise_of_real_labels_has_the_datas_variance_and_differs_between_seeds_and_data() -> None:
    data = DATA.changed(rows=20_000)
    noise = real_noise(data, 0)
    assert noise.shape == (20_000,)
    assert noise.var() == pytest.approx(0.25, rel=0.05)
    assert np.array_equal(noise, real_noise(data, 0))
    for other in (real_noise(data, 1), real_noise(data.changed(seed=1), 0)):
        assert abs(np.corrcoef(noise, other)[0, 1]) < 0.03


def test_an_ill_conditioned_design_keeps_its_digits() -> None:
    """Normal equations would square the condition number, 1e7, and lose all but two digits."""
    X = np.vander(np.linspace(0, 1, 40), 10)
    w = np.arange(1.0, 11)
    found, _, _ = fit([(X[:20], X[:20] @ w), (X[20:], X[20:] @ w)], ridge=0.0)
    assert np.abs(found - w).max() < 1e-6


@pytest.mark.parametrize("changes", [{}, {"covariance": SIGMA}, {"decay": 2.0}, {"w_star": [1.0, 0.0, -2.0]}])
def test_the_test_split_measures_the_excess_risk_exactly(tmp_path: Path, changes: dict[str, Any]) -> None:
    data = DATA.changed(**changes)
    prepare(tmp_path, **changes)
    X, y, noise = read_rows(tmp_path / "test")
    assert np.array_equal(y, X @ target(data))
    Sigma = np.eye(3) if covariance(data) is None else np.array(covariance(data))
    assert np.allclose(X.T @ X / len(X), Sigma, rtol=1e-14, atol=1e-15)
    assert not noise.any()
    w = np.array([0.3, -1.0, 2.0])
    save(w, tmp_path / "checkpoint")
    outputs = {"measurements": str(tmp_path / "measurements.json")}
    inputs = {name: str(tmp_path / name) for name in ("test", "checkpoint")}
    evaluate_model.run(Job(inputs, outputs, StepParams()))
    (row,) = measurements(tmp_path / "measurements.json")
    away = w - target(data)
    assert (row["split"], row["metric"]) == ("test", "excess_risk")
    assert row["value"] == pytest.approx(away @ Sigma @ away, rel=1e-13)


def test_real_rows_have_the_covariance_that_the_data_section_says_and_no_noise_yet(tmp_path: Path) -> None:
    X, y, noise = read_rows(prepare(tmp_path, rows=20_000, covariance=SIGMA) / "train")
    assert np.abs(X.T @ X / len(X) - SIGMA).max() < 0.15
    assert np.array_equal(y, X @ target(DATA))
    assert not noise.any()


def test_the_same_section_gives_the_same_bytes_and_another_seed_other_rows(tmp_path: Path) -> None:
    files = [prepare(tmp_path / str(place)) / "train/shard-00000.parquet" for place in (1, 2)]
    assert files[0].read_bytes() == files[1].read_bytes()
    other, _, _ = read_rows(prepare(tmp_path / "3", seed=1) / "train")
    assert not np.isin(other, read_rows(files[0].parent)[0]).any()


def test_decay_is_the_spectrums_exponent() -> None:
    assert np.allclose(factor(DATA.changed(decay=2.0)) ** 2, np.diag([1, 1 / 4, 1 / 9]))


def sample(folder: Path, w: np.ndarray, streams: str, part: int = 0) -> tuple[Path, list[np.ndarray]]:
    """A part sampled from w for the data in `folder`."""
    save(w, folder / "checkpoint")
    params = generate.Params(streams=streams, data=DATA, iteration=2, part=part)
    inputs = {"real": str(folder / "train"), "checkpoint": str(folder / "checkpoint")}
    generate.run(Job(inputs, {"part": str(folder / streams)}, params))
    return folder / streams, list(read_rows(folder / streams))


def test_parts_have_the_same_x_and_noise_of_their_own(tmp_path: Path) -> None:
    X, _, _ = read_rows(prepare(tmp_path) / "train")
    w = np.array([1.0, 2.0, 3.0])
    folder, (own, y, noise) = sample(tmp_path, w, "a", part=1)
    _, (_, _, other) = sample(tmp_path, w, "b")
    _, (_, _, again) = sample(tmp_path, w, "a", part=1)
    assert np.array_equal(own, X)
    assert np.array_equal(y, X @ w + noise)
    assert np.array_equal(noise, again)
    assert not np.isin(noise, np.concatenate([other, real_noise(DATA, 0)])).any()
    table = pq.read_table(folder)
    assert table.column_names == ["x", "y", "noise", "iteration", "part", "row"]
    assert {name: set(table.column(name).to_pylist()) for name in ("iteration", "part")} == {
        "iteration": {2},
        "part": {1},
    }
    assert table.column("row").to_pylist() == list(range(40))


def test_a_part_is_measured_as_signal_and_noise(tmp_path: Path) -> None:
    X, _, _ = read_rows(prepare(tmp_path) / "train")
    w, first = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.5])
    folder, (_, _, noise) = sample(tmp_path, w, "a")
    save(first, tmp_path / "first")
    outputs = {"measurements": str(tmp_path / "measurements.json")}
    inputs = {"part": str(folder), "first": str(tmp_path / "first")}
    evaluate_part.run(Job(inputs, outputs, evaluate_part.Params(part=3)))
    rows = measurements(tmp_path / "measurements.json")
    expected = {"signal": np.mean((X @ w) ** 2), "noise": np.mean(noise**2), "drift": np.mean(X[:, 2] ** 2) / 4}
    assert {row["metric"]: row["value"] for row in rows} == pytest.approx(expected)
    assert {(row["split"], row["part"]) for row in rows} == {("synthetic", 3)}


def test_labels_that_are_not_finite_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="part would hold labels that are not finite"):
        write_rows(tmp_path / "part", np.ones((2, 1)), np.array([np.inf]), np.zeros(2))
    assert not (tmp_path / "part").exists()


def test_a_checkpoint_loads_in_torch(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    w = np.array([0.1, -2.0, 1 / 3])
    save(w, tmp_path / "checkpoint")
    assert np.array_equal(load_checkpoint(tmp_path / "checkpoint"), w)
    model = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)
    model.load_state_dict(load_file(tmp_path / "checkpoint/model.safetensors"))
    assert torch.equal(model.weight[0], torch.from_numpy(w))


def test_no_step_of_the_loop_imports_torch() -> None:
    steps = ["prepare_data", "train", "generate", "evaluate_model", "evaluate_part", "simulate_chains"]
    lines = [f"import selfloop.domains.linear.steps.{step}" for step in steps]
    lines.append("import selfloop.domains.linear.domain")
    check = "import sys; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", "\n".join([*lines, check])], cwd=ROOT / "src", check=True)


def test_planning_imports_neither_torch_nor_pyarrow() -> None:
    code = f"""
import sys, yaml
from selfloop.planning.check import check
from selfloop.planning import study
study.build(check(yaml.safe_load(open({str(ROOT / "tests/studies/linear.yaml")!r}))))
assert not {{"torch", "pyarrow", "pandas"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", check=True)


def test_a_reserve_has_rows_of_its_own_and_changes_no_other(tmp_path: Path) -> None:
    plain, reserved = prepare(tmp_path / "plain"), prepare(tmp_path / "reserved", reserve=1.5)
    for split in ("train", "test"):
        (file,) = (plain / split).iterdir()
        assert file.read_bytes() == (reserved / split / file.name).read_bytes()
    X, _, _ = read_rows(reserved / "train")
    more, y, noise = read_rows(reserved / "reserve")
    assert more.shape == (60, 3)
    assert len(np.unique(np.vstack([X, more]), axis=0)) == 100
    assert pq.read_table(reserved / "reserve").column("row").to_pylist() == list(range(40, 100))
    np.testing.assert_allclose(y, more @ target(DATA))
    assert not noise.any()


def test_the_noise_of_fresh_labels_is_independent_and_that_of_the_others_as_without_a_reserve() -> None:
    with_reserve = DATA.changed(reserve=100)
    noise = real_noise(with_reserve, 3)
    assert np.array_equal(noise[:40], real_noise(DATA, 3))
    assert len(noise) == 40 + 4000
    assert noise[40:].std() == pytest.approx(0.5, rel=0.05)  # 4 standard errors are 4.5%
    assert abs(np.corrcoef(noise[:40], noise[40:80])[0, 1]) < 0.6


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_weights_scale_the_squared_errors_of_their_rows(tmp_path: Path, ridge: float) -> None:
    parts = [str(prepare(tmp_path / str(place), seed=place) / "train") for place in range(2)]
    takes = [
        {"iteration": 0, "part": 0, "amount": 1.0, "skip": 0.0, "weight": weight, "filter": None} for weight in (3, 1)
    ]
    folder = str(tmp_path / "training-set")
    outputs = {name: str(tmp_path / name) for name in ("checkpoint", "learning_curve")}
    params = training_set.Params(streams="t", takes=takes, budget=None)
    training_set.run(Job({"real": parts[0], "parts": parts}, {"training_set": folder}, params))
    train.run(Job({"training_set": folder}, outputs, train.Params(training=Training(ridge=ridge), data=DATA, seed=0)))
    X, y, _ = (np.concatenate(pair) for pair in zip(*(read_rows(Path(part)) for part in parts), strict=True))
    y = y + np.tile(real_noise(DATA, 0), 2)
    W = np.diag([1.5] * 40 + [0.5] * 40)
    expected = np.linalg.solve(X.T @ W @ X + 80 * ridge * np.eye(3), X.T @ W @ y)
    assert np.abs(load_checkpoint(tmp_path / "checkpoint") - expected).max() < 1e-12


@pytest.mark.parametrize("rows", [40, 2])
def test_the_profile_compares_the_errors_of_successive_fits(tmp_path: Path, rows: int) -> None:
    """Also where there are fewer rows than dimensions, as under ridge: fits lie in the span of the rows."""
    data = prepare(tmp_path, rows=rows)
    X, _, _ = read_rows(data / "train")
    w_star, generator = target(DATA), np.random.default_rng(0)
    fits = [np.linalg.pinv(X) @ X @ (w_star + generator.standard_normal(3)) for _ in range(2)]
    links: list[dict[str, Any]] = []
    for name, w in zip("ab", fits, strict=True):
        write_rows(tmp_path / name, X, w, generator.standard_normal(rows))
        before = links[-1]["part"] if links else None
        links.append({"part": str(tmp_path / name), "previous": before, "checkpoint": "", "sampling": {}})
    inputs = {"train": str(data / "train"), "test": str(data / "test")}
    output = tmp_path / "profile.parquet"
    params = measure_profile.Params.model_validate({"links": links})
    measure_profile.run(Job(inputs, {"profile": str(output)}, params))
    table = pq.read_table(output).to_pylist()
    found = {(Path(row["part"]).name, row["measure"]): (row["value"], row["real"]) for row in table}
    first, second = (w - w_star for w in fits)
    assert found["b", "kappa"][0] == pytest.approx(first @ second / (first @ first))
    assert found["b", "kappa_weight"][0] == pytest.approx(first @ first)
    norms = np.linalg.norm(first) * np.linalg.norm(second)
    assert found["b", "cosine"][0] == pytest.approx(first @ second / norms)
    assert found["a", "signal"] == pytest.approx((np.mean((X @ fits[0]) ** 2), np.mean((X @ w_star) ** 2)))
    assert ("a", "kappa") not in found
