"""The whole loop held against Theorem 1: every model of every regime, from the noise that the loop recorded.

What a model is trained on decides every digit of its parameters, so one wrong row anywhere shows here.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import linear_reference
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import load_file

from selfloop.domains.linear import theory
from selfloop.domains.linear.config import Data, Training
from selfloop.domains.linear.data.sources import real_noise
from selfloop.domains.linear.steps import train
from selfloop.jobs.job import Job

from .damage import unnoticed

ROOT = Path(__file__).parents[2]
W_STAR = [1.0, -2.0, 0.5, 3.0]
T = 16
CLOSE = 1e-10


def study() -> dict[str, Any]:
    """The linear study of `tests/studies`, with all regimes, a general Σ and w*, and one that is short of one row."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "tests/studies/linear.yaml").read_text(encoding="utf-8"))
    entry = config["experiments"]["linear"]
    entry["regimes"] = list(theory.REGIMES)
    entry["data"] = {"dimension": len(W_STAR), "rows": T, "noise_variance": 0.5, "decay": 1.0, "w_star": W_STAR}
    entry["simulation"] = {"grid": [{"dimension": [len(W_STAR)], "rows": [32, 100]}], "iterations": 5, "seeds": 30}
    short = {"like": "linear", "regimes": ["one-row-short"], "seeds": [0, 1], "simulation": None}
    config["experiments"]["short"] = short
    config["regimes"] = {"one-row-short": {"parts": [{"from": "real", "amount": 1 - 1 / T}, {"from": "all"}]}}
    return config


def snakemake(folder: Path, config: dict[str, Any], *options: str) -> str:
    """Run the study in a folder; returns what Snakemake says."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    mine = {key: value for key, value in os.environ.items() if not key.startswith(("SELFLOOP_", "SNAKEMAKE_"))}
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", str(path)]
    command += ["--cores", "2", *options]
    done = subprocess.run(command, cwd=folder, env=mine, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("linear")
    snakemake(folder, study())
    return folder


def data() -> Data:
    """The study's section, complete."""
    return Data.model_validate(study()["experiments"]["linear"]["data"])


def chain(folder: Path, regime: str, seed: int = 0) -> list[dict[str, str]]:
    """The rows of the study's index that make up a chain, by iteration."""
    with (folder / "results/chains.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["regime"], row["seed"]) == (regime, str(seed))]
    return sorted(rows, key=lambda row: int(row["iteration"]))


def column(data_set: Path, name: str) -> np.ndarray:
    """A column of a data set, read as any user of Parquet would."""
    return np.array(pq.read_table(data_set).column(name).to_pylist())


def real(folder: Path, split: str = "train") -> Path:
    """The real data set's folder."""
    (found,) = (folder / "results/data").glob(f"*/documents/{split}")
    return found


def parameters(folder: Path, row: dict[str, str]) -> np.ndarray:
    """ŵ (d,) of the model in a row of the index."""
    return load_file(folder / row["model_folder"] / "checkpoint/model.safetensors")["weight"][0]


def deviation(folder: Path, regime: str, formula: str | None = None) -> float:
    """The largest difference between a parameter of a chain and the closed form, from X, w* and the recorded noise."""
    rows = chain(folder, regime)
    noise = [real_noise(data(), 0)]
    for n, row in enumerate(rows[:-1], start=2):
        parts = row["part_folders"].split()
        taken = parts[:n] if regime == "replace-multiple" else parts[:1]
        noise.append(np.concatenate([column(folder / part, "noise") for part in taken]))
    expected = linear_reference.fits_from_noise(formula or regime, column(real(folder), "x"), noise, np.array(W_STAR))
    return float(np.abs(np.stack([parameters(folder, row) for row in rows]) - expected).max())


@pytest.mark.parametrize("regime", list(theory.UPDATES))
def test_every_model_is_the_closed_forms(finished: Path, regime: str) -> None:
    assert len(chain(finished, regime)) == 3
    assert deviation(finished, regime) < CLOSE


def test_no_regime_is_taken_for_another(finished: Path) -> None:
    assert deviation(finished, "replace", "accumulate") > 1e-3
    assert deviation(finished, "accumulate", "replace") > 1e-3


def test_a_regime_that_lacks_one_row_is_seen(finished: Path) -> None:
    rows = chain(finished, "one-row-short")
    manifest = json.loads((finished / rows[1]["model_folder"] / "training-set/manifest.json").read_text())
    assert manifest["rows"] == 2 * T - 1
    assert deviation(finished, "one-row-short", "accumulate") > 1e-6


def test_subsampling_fits_the_rows_that_its_manifest_names(finished: Path) -> None:
    rows = chain(finished, "accumulate-subsample")
    for n, row in enumerate(rows, start=1):
        folder = finished / row["model_folder"] / "training-set"
        tables, pool = [], set()
        for shard in json.loads((folder / "manifest.json").read_text())["shards"]:
            table = pq.read_table(folder / shard["file"])
            pool.add((folder / shard["file"]).resolve().parent)
            if shard["selection"] is not None:
                table = table.take(pq.read_table(folder / shard["selection"]).column("row"))
            tables.append(table)
        named = pa.concat_tables(tables)
        parts = [finished / earlier["part_folders"].split()[0] for earlier in rows[: n - 1]]
        assert pool == {path.resolve() for path in (real(finished), *parts)}
        assert named.num_rows == T
        X, y = np.array(named.column("x").to_pylist()), named.column("y").to_numpy()
        is_real = named.column("iteration").to_numpy() == 0
        y = np.where(is_real, y + real_noise(data(), 0)[named.column("row").to_numpy()], y)
        expected = np.linalg.lstsq(X, y, rcond=None)[0]
        assert np.abs(parameters(finished, row) - expected).max() < CLOSE


def change_a_label(training_set: Path) -> None:
    """Change the label of one row of the newest part."""
    path = (training_set / "shards/00002.parquet").resolve()
    table = pq.read_table(path)
    labels = table.column("y").to_numpy().copy()
    labels[5] += 1e-4
    pq.write_table(table.set_column(table.column_names.index("y"), "y", pa.array(labels)), path)


def hand_over_the_wrong_part(training_set: Path) -> None:
    """Let the newest part be the one before it."""
    link, other = (training_set / f"shards/0000{k}.parquet" for k in (2, 1))
    target = other.readlink()
    link.unlink()
    link.symlink_to(target)


def leave_out_a_row(training_set: Path) -> None:
    """Take all rows but one of the real data."""
    manifest = json.loads((training_set / "manifest.json").read_text())
    (training_set / "selection").mkdir()
    pq.write_table(pa.table({"row": np.arange(1, T)}), training_set / "selection/00000.parquet")
    manifest["shards"][0] |= {"selection": "selection/00000.parquet", "taken": T - 1}
    (training_set / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("tamper", [change_a_label, hand_over_the_wrong_part, leave_out_a_row])
def test_one_wrong_row_is_seen(finished: Path, tmp_path: Path, tamper: Callable[[Path], None]) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    model = folder / chain(folder, "accumulate")[2]["model_folder"]
    job = Job(
        {"training_set": str(model / "training-set")},
        {"checkpoint": str(model / "checkpoint"), "learning_curve": str(model / "learning_curve.parquet")},
        train.Params(training=Training(), data=data(), seed=0),
    )
    train.run(job)
    assert deviation(folder, "accumulate") < CLOSE
    tamper(model / "training-set")
    train.run(job)
    assert deviation(folder, "accumulate") > 1e-7


def test_a_part_has_the_real_x_and_the_models_labels(finished: Path) -> None:
    X = column(real(finished), "x")
    row = chain(finished, "replace-multiple")[1]
    parts = [finished / part for part in row["part_folders"].split()]
    assert len(parts) == 3
    for part in parts:
        assert np.array_equal(column(part, "x"), X)
        signal = column(part, "y") - column(part, "noise")
        assert np.abs(signal - X @ parameters(finished, row)).max() < 1e-12
    assert not np.isin(column(parts[0], "noise"), column(parts[1], "noise")).any()


def test_seeds_share_the_real_inputs_and_no_noise(finished: Path) -> None:
    zero, one = (chain(finished, "one-row-short", seed) for seed in (0, 1))
    X, w = column(real(finished), "x"), np.array(W_STAR)
    for seed, rows in enumerate((zero, one)):
        expected = w + np.linalg.pinv(X) @ real_noise(data(), seed)
        assert np.abs(parameters(finished, rows[0]) - expected).max() < CLOSE
    noises = [column(finished / rows[0]["part_folders"], "noise") for rows in (zero, one)]
    assert not np.isin(*noises).any()


def test_the_metrics_hold_the_loops_errors_and_the_simulations(finished: Path) -> None:
    metrics = pd.read_parquet(finished / "results/metrics.parquet")
    risk = metrics[metrics["metric"] == "excess_risk"]
    assert set(risk["domain"]) == {"linear"}
    spectrum = 1 / np.arange(1, 5)
    for regime in theory.REGIMES:
        loop = risk[(risk["regime"] == regime) & (risk["split"] == "test")].sort_values("iteration")["value"]
        away = np.stack([parameters(finished, row) for row in chain(finished, regime)]) - W_STAR
        assert np.allclose(loop, (away**2) @ spectrum, rtol=1e-10, atol=0)
        own = risk[(risk["regime"] == regime) & (risk["split"] == "simulation")]
        assert set(own["experiment"]) == {"linear"}
        assert len(own) == 2 * 30 * 5
        assert not own.duplicated(["model", "seed", "iteration"]).any()


def test_the_study_ends_in_its_own_figures_and_tables(finished: Path) -> None:
    figures = {path.name for path in (finished / "results/figures").glob("[!.]*")}
    names = ("headline", "synthetic", "profile", "theory-linear", "theory-log", "spread")
    assert figures == {f"linear-{name}.{suffix}" for name in names for suffix in ("png", "svg")}
    tables = {path.name for path in (finished / "results/tables").glob("[!.]*")}
    names = ("linear-headline", "linear-trend", "linear-theory", "profile")
    assert tables == {f"{name}.{suffix}" for name in names for suffix in ("csv", "md")}
    theory_table = pd.read_csv(finished / "results/tables/linear-theory.csv")
    assert theory_table["prediction"].value_counts().to_dict() == {"mean": 2 * 5 * 5, "median, approximation": 2 * 5}
    assert (theory_table["z"].dropna().abs() < 5).all()


def jobs(output: str) -> Counter[str]:
    """Jobs by rule in what a dry run says."""
    return Counter({rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE)})


def test_more_simulated_seeds_rerun_no_model_and_a_finished_study_reruns_nothing(
    finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-a", finished, folder], check=True)
    assert jobs(snakemake(folder, study(), "--dry-run")) == Counter()
    more = study()
    more["experiments"]["linear"]["simulation"]["seeds"] = 31
    announced = jobs(snakemake(folder, more, "--dry-run"))
    assert announced["simulate_chains"] == 2 * 6
    assert set(announced) == {
        *("simulate_chains", "collect_metrics", "plot_headline", "plot_synthetic", "write_tables"),
        *("write_profile", "write_report"),
        *("linear_plot_profile", "linear_plot_theory", "linear_plot_spread", "linear_write_theory", "all", "total"),
    }


def test_no_damage_to_an_artifact_goes_unnoticed(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "results", tmp_path / "results", symlinks=True)
    assert list(unnoticed(tmp_path / "results")) == []
