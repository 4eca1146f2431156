"""Fresh rows, weights and a grid of regimes in a whole study, down to the rows that each fit is made of."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import load_file

from selfloop.domains.linear.config import Data
from selfloop.domains.linear.data.sources import real_noise
from selfloop.operations.verify import verify
from selfloop.planning.rules import Plan, plan_study

from .test_linear import jobs, snakemake

T = 16
STUDY: dict[str, Any] = yaml.safe_load(f"""
experiments:
  fresh:
    domain: linear
    data: {{dimension: 3, rows: {T}, reserve: 2}}
    regimes: [golden, mix]
    iterations: 3
    seeds: [0]
regimes:
  golden: {{parts: [{{from: fresh, weight: 0.618}}, {{from: all, last: 1, weight: 0.382}}]}}
  mix: {{grid: {{a: [0.25, 1]}}, parts: [{{from: real, amount: a, rows: same}}, {{from: previous, amount: [0, 1]}}]}}
""")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("regimes")
    snakemake(folder, STUDY)
    return folder


def plan() -> Plan:
    return plan_study(STUDY)


def rows(training_set: Path) -> tuple[pa.Table, np.ndarray]:
    """The rows that a manifest names, and their weights."""
    tables, weights = [], []
    for shard in json.loads((training_set / "manifest.json").read_text())["shards"]:
        table = pq.read_table(training_set / shard["file"])
        if shard["selection"] is not None:
            table = table.take(pq.read_table(training_set / shard["selection"]).column("row"))
        tables.append(table)
        weights += [shard.get("weight", 1.0)] * table.num_rows
    return pa.concat_tables(tables), np.array(weights)


def test_every_model_is_the_weighted_fit_of_the_rows_that_its_manifest_names(finished: Path) -> None:
    data = Data.model_validate(STUDY["experiments"]["fresh"]["data"])
    for name, model in plan().models.items():
        folder = finished / "results/models" / name
        named, weights = rows(folder / "training-set")
        assert weights.mean() == pytest.approx(1)
        assert (len(set(weights)) == 2) == (model.history == "golden" and model.iteration > 1)
        X, y = np.array(named.column("x").to_pylist()), named.column("y").to_numpy()
        is_real = named.column("iteration").to_numpy() == 0
        numbers = np.where(is_real, named.column("row").to_numpy(), 0)
        y = np.where(is_real, y + real_noise(data, 0)[numbers], y)
        root = np.sqrt(weights)
        expected = np.linalg.lstsq(X * root[:, None], y * root, rcond=None)[0]
        found = load_file(folder / "checkpoint/model.safetensors")["weight"][0]
        assert np.abs(found - expected).max() < 1e-10


def real_rows(folder: Path, regime: str) -> list[set[int]]:
    """The numbers of the real rows that the models of a chain learn from, by iteration."""
    (chain,) = [chain for chain in plan().chains if chain.regime == regime]
    found = []
    for model in chain.models:
        named, _ = rows(folder / "results/models" / model.name / "training-set")
        real = named.filter(pa.compute.equal(named.column("iteration"), 0))
        found.append(set(real.column("row").to_pylist()))
    return found


def test_fresh_rows_are_in_no_other_split_and_no_other_iteration(finished: Path) -> None:
    first, second, third = real_rows(finished, "golden")
    assert first == set(range(T))
    assert second | third == set(range(T, 3 * T))
    assert len(second) == len(third) == T


def test_the_same_rows_are_taken_at_every_iteration(finished: Path) -> None:
    _, second, third = real_rows(finished, "mix-a0.25")
    assert second == third
    assert len(second) == T / 4


def test_the_study_ends_with_a_figure_over_the_grid_and_is_whole(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (finished / "results/figures/linear-grid-mix.png").stat().st_size > 0
    assert jobs(snakemake(finished, STUDY, "--dry-run")) == {}
    monkeypatch.chdir(finished)
    assert verify(Path("results")) == 0


def test_a_reserve_of_documents_is_tokenized_and_data_without_one_are_as_ever(tmp_path: Path) -> None:
    entry = yaml.safe_load("""
    domain: text
    data: {source: packaged, name: shakespeare, rows: 64, test_rows: 16, reserve: 1}
    model: {architecture: gpt2, hidden_size: 16, layers: 1, heads: 2, context: 32, vocabulary: 300}
    training: {batch_size: 8}
    regimes: [all-fresh]
    iterations: 2
    seeds: [0]
    """)
    plain = {"like": "reserved", "data": {"reserve": 0}, "regimes": ["replace"]}
    announced = jobs(snakemake(tmp_path, {"experiments": {"reserved": entry, "plain": plain}}, "--dry-run"))
    rules = ("prepare_data", "tokenize")
    assert [announced[name] for rule in rules for name in (rule, f"{rule}_with_reserve")] == [1, 1, 1, 1]
