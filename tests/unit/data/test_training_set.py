"""A training set names the rows that it takes and copies none of them."""

import json
import os
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from selfloop.data import training_set
from selfloop.data.collect import kept
from selfloop.data.regimes import BUILT_IN, REAL
from selfloop.data.regimes import training_set as composition
from selfloop.data.shards import ShardWriter, shard_paths
from selfloop.errors import UserError
from selfloop.jobs.job import Job

SCHEMA = pa.schema([("text", pa.string()), ("source", pa.string()), ("row", pa.int64())])
ALL = {"iteration": 1, "part": 0, "amount": 1.0, "skip": 0.0, "weight": 1.0, "filter": None}


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps run in the study's folder, and name their files from there."""
    monkeypatch.chdir(tmp_path)


def data_set(name: str, rows: int = 100, rows_per_shard: int = 30) -> str:
    folder = Path("results") / name
    folder.mkdir(parents=True)
    with ShardWriter(folder, SCHEMA, rows_per_shard) as writer:
        for row in range(rows):
            writer.append({"text": f"{name} {row}", "source": name, "row": row})
    return str(folder)


def concatenate(
    parts: list[str],
    takes: list[dict[str, Any]] | None = None,
    budget: float | None = None,
    streams: str = "abc",
    chain_streams: str = "chain",
    output: str = "results/models/m/training-set",
) -> Path:
    job = Job(
        input={"real": parts[0], "parts": parts},
        output={"training_set": output},
        params=training_set.Params(
            streams=streams, chain_streams=chain_streams, takes=takes or [ALL for _ in parts], budget=budget
        ),
    )
    training_set.run(job)
    return Path(output)


def read(folder: Path) -> list[tuple[str, int]]:
    """(source, row) of every row of a training set, in its order."""
    batches = training_set.rows(folder, ["source", "row"])
    return [(row["source"], row["row"]) for batch in batches for row in batch.to_pylist()]


def manifest(folder: Path) -> dict[str, Any]:
    read_: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return read_


def test_whole_data_sets_follow_each_other_in_their_order() -> None:
    folder = concatenate([data_set("b"), data_set("a", rows=10)])
    assert read(folder) == [("b", row) for row in range(100)] + [("a", row) for row in range(10)]


def test_the_manifest_names_every_shard_with_its_rows() -> None:
    folder = concatenate([data_set("a", rows=40)])
    assert manifest(folder) == {
        "rows": 40,
        "shards": [
            {"file": "shards/00000.parquet", "rows": 30, "taken": 30, "selection": None},
            {"file": "shards/00001.parquet", "rows": 10, "taken": 10, "selection": None},
        ],
    }


def test_shards_are_links_that_hold_when_the_study_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = concatenate([data_set("a")])
    links = sorted((folder / "shards").iterdir())
    assert all(link.is_symlink() and not os.path.isabs(os.readlink(link)) for link in links)
    assert [link.resolve() for link in links] == [path.resolve() for path in shard_paths(Path("results/a"))]
    Path("results").rename("elsewhere")
    assert len(read(Path("elsewhere/models/m/training-set"))) == 100


def test_links_hold_where_models_or_data_lie_on_another_disk(tmp_path: Path) -> None:
    (tmp_path / "scratch/deep/models").mkdir(parents=True)
    (tmp_path / "scratch/data").mkdir()
    Path("results").mkdir()
    Path("results/models").symlink_to(tmp_path / "scratch/deep/models")
    Path("results/data").symlink_to(tmp_path / "scratch/data")
    folder = concatenate([data_set("data/a"), data_set("models/m/parts/b"), data_set("c")])
    assert len(read(folder)) == 300


def test_without_links_a_training_set_holds_copies_of_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [data_set("a"), data_set("b")]
    linked = concatenate(parts, [ALL, {**ALL, "amount": 0.5}])

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    copied = concatenate(parts, [ALL, {**ALL, "amount": 0.5}], output="results/models/copied/training-set")
    assert not any(path.is_symlink() for path in copied.rglob("*"))
    assert read(copied) == read(linked)
    assert manifest(copied) == manifest(linked)


def test_nothing_is_selected_where_all_rows_are_taken() -> None:
    assert not (concatenate([data_set("a"), data_set("b")]) / "selection").exists()


def test_an_amount_draws_so_many_rows_each_once_and_in_their_order() -> None:
    folder = concatenate([data_set("a")], [{**ALL, "amount": 0.25}])
    rows = [row for _, row in read(folder)]
    assert len(rows) == manifest(folder)["rows"] == 25
    assert rows == sorted(set(rows))
    assert rows != list(range(25))


def test_what_is_drawn_is_decided_by_the_streams() -> None:
    part, half = data_set("a"), [{**ALL, "amount": 0.5}]
    first, again, other = (
        read(concatenate([part], half, streams=streams, output=f"results/models/{place}"))
        for place, streams in enumerate(["one", "one", "other"])
    )
    assert first == again != other


def test_two_takes_of_one_data_set_are_drawn_independently() -> None:
    part, half = data_set("a"), {**ALL, "amount": 0.5}
    rows = read(concatenate([part, part], [half, half]))
    assert len(rows) == 100
    assert rows[:50] != rows[50:]


def test_the_real_rows_taken_twice_and_a_half_are_linked_three_times_and_copied_never() -> None:
    part = data_set("real")
    folder = concatenate([part] * 3, [ALL, ALL, {**ALL, "amount": 0.5}])
    rows = read(folder)
    assert rows[:100] == rows[100:200] == [("real", row) for row in range(100)]
    assert len(rows) == manifest(folder)["rows"] == 250
    assert len(set(rows[200:])) == 50
    links = sorted((folder / "shards").iterdir())
    assert [link.resolve() for link in links] == 3 * [path.resolve() for path in shard_paths(Path(part))]
    assert len(pd.read_parquet(folder / "shards")) == 300


def test_what_two_training_sets_draw_from_the_same_data_set_is_the_same() -> None:
    """Whatever else they take, and before or after it."""
    real, other = data_set("real"), data_set("other")
    half, rest = {**ALL, "iteration": 0, "amount": 0.5}, {**ALL, "iteration": 2, "amount": 0.5}
    alone = read(concatenate([real], [half], output="results/models/one"))
    after = read(concatenate([other, real, real], [rest, {**half, "amount": 1.0}, half], output="results/models/two"))
    assert alone == after[150:]
    assert [row for _, row in after[:50]] != [row for _, row in alone]


def test_a_larger_amount_has_the_rows_of_a_smaller_one() -> None:
    part = data_set("a")
    few, many = (
        set(read(concatenate([part], [{**ALL, "amount": amount}], output=f"results/models/{amount}")))
        for amount in (0.2, 0.3)
    )
    assert few < many


def test_the_same_rows_are_those_of_the_chain_and_others_those_of_the_model() -> None:
    real = data_set("real")
    drawn = [
        [
            read(
                concatenate(
                    [real], [{**ALL, "amount": 0.5, "same": same}], streams=streams, output=f"m/{streams}{same}"
                )
            )
            for streams in ("iteration 2", "iteration 3")
        ]
        for same in (True, False)
    ]
    assert drawn[0][0] == drawn[0][1]
    assert drawn[1][0] != drawn[1][1]


def fresh(skip: float, amount: float, **rest: Any) -> list[tuple[str, int]]:
    """What a take of fresh rows selects of a reserve of 250 rows, beside 100 real ones."""
    take = {**ALL, "iteration": 0, "skip": skip, "amount": amount, "fresh": True}
    folders = [str(path) for path in (Path("results/real"), Path("results/reserve"))]
    if not Path(folders[0]).exists():
        folders = [data_set("real"), data_set("reserve", rows=250)]
    output = f"results/models/{skip}{amount}{rest}/training-set"
    rows = read(concatenate(folders, [{**ALL, "iteration": 0, "amount": 0.01}, take], output=output, **rest))
    return [row for row in rows if row[0] == "reserve"]


def test_fresh_rows_are_others_at_every_iteration_until_all_are_taken() -> None:
    taken = [set(fresh(skip, amount)) for skip, amount in ((0, 0.333), (0.333, 0.5), (0.833, 1.667))]
    assert [len(rows) for rows in taken] == [33, 50, 167]
    assert len(set().union(*taken)) == 250


def test_chains_take_fresh_rows_in_orders_of_their_own() -> None:
    assert fresh(0, 0.5) == fresh(0, 0.5, streams="of another model") != fresh(0, 0.5, chain_streams="of another chain")


def test_a_reserve_with_too_few_rows_left_is_an_error() -> None:
    with pytest.raises(UserError, match=r"reserve has 250 rows, and 300 are needed up to here; raise data.reserve."):
        fresh(2, 1)


def test_weights_have_the_mean_1_over_all_rows() -> None:
    parts = [data_set("a"), data_set("b")]
    folder = concatenate(parts, [{**ALL, "weight": 3.0, "amount": 0.5}, {**ALL, "weight": 0.75}])
    found = training_set.weights(folder)
    assert found is not None
    assert found.mean() == pytest.approx(1)
    np.testing.assert_allclose(found, [2.0] * 50 + [0.5] * 100)


def test_a_training_set_whose_weights_are_all_alike_has_the_bytes_of_one_without_weights() -> None:
    parts = [data_set("a"), data_set("b")]
    plain = concatenate(parts)
    alike = concatenate(parts, [{**ALL, "weight": 5.0}] * 2, output="results/models/alike/training-set")
    assert training_set.weights(plain) is None
    assert (alike / "manifest.json").read_bytes() == (plain / "manifest.json").read_bytes()


def test_a_weight_of_which_a_budget_leaves_no_row_changes_nothing() -> None:
    takes = [{**ALL, "weight": 5.0, "amount": 0.01}, ALL]
    budgets = [concatenate([data_set("a"), data_set("b")], takes, 0.01, output=f"results/models/{n}") for n in "m"]
    assert training_set.weights(budgets[0]) is None


def test_shards_of_which_no_row_is_taken_stay_in_the_manifest_and_give_no_batch() -> None:
    folder = concatenate([data_set("a")], [{**ALL, "amount": 0.02}])
    taken = [shard["taken"] for shard in manifest(folder)["shards"]]
    assert len(taken) == 4
    assert sum(taken) == 2
    assert [batch.num_rows for batch in training_set.rows(folder, ["row"])] == [count for count in taken if count]


def test_a_budget_draws_from_all_rows_alike() -> None:
    folder = concatenate([data_set(name) for name in "abcd"], budget=1.0)
    rows = read(folder)
    assert len(rows) == len(set(rows)) == 100
    # 25 of each are expected; the hypergeometric law's standard deviation is 3.8, so that 6 of them are 23
    assert all(2 <= sum(source == name for source, _ in rows) <= 48 for name in "abcd")


def test_a_budget_that_is_not_reached_takes_all() -> None:
    assert len(read(concatenate([data_set("a"), data_set("b")], budget=2.0))) == 200


def test_a_budget_counts_in_rows_of_the_real_data() -> None:
    assert len(read(concatenate([data_set("a", rows=40), data_set("b")], budget=1.5))) == 60


def test_a_budget_draws_among_the_rows_that_the_takes_chose() -> None:
    takes = [{**ALL, "amount": 0.1}, {**ALL, "amount": 0.3}]
    parts = [data_set("a"), data_set("b")]
    rows = read(concatenate(parts, takes, budget=0.2))
    assert len(rows) == 20
    assert set(rows) < set(read(concatenate(parts, takes, output="results/models/whole")))


def test_rows_are_the_same_whatever_the_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = concatenate([data_set("a")], [{**ALL, "amount": 0.5}])
    at_once = read(folder)
    monkeypatch.setattr(training_set, "ROWS_PER_GROUP", 7)
    assert read(folder) == at_once


def test_an_empty_data_set_never_becomes_training_data() -> None:
    with pytest.raises(UserError, match=r"results/empty has no rows"):
        concatenate([data_set("a"), data_set("empty", rows=0)])
    assert not Path("results/models/m/training-set").exists()


def test_a_training_set_without_rows_is_an_error() -> None:
    with pytest.raises(UserError, match="takes no row of its 1 data sets"):
        concatenate([data_set("a")], [{**ALL, "amount": 0.001}])


def test_other_programs_open_the_folder_of_shards(tmp_path: Path) -> None:
    shards = concatenate([data_set("a"), data_set("b")]) / "shards"
    expected = [f"{name} {row}" for name in "ab" for row in range(100)]
    assert pd.read_parquet(shards)["text"].tolist() == expected
    assert pyarrow.dataset.dataset(shards).to_table()["text"].to_pylist() == expected
    for where in ({"data_dir": str(shards)}, {"data_files": f"{shards}/*.parquet"}):
        opened = datasets.load_dataset("parquet", split="train", cache_dir=str(tmp_path / "cache"), **where)
        assert opened["text"][:] == expected


def accumulate_chain(iterations: int) -> Path:
    """The data of a chain under accumulate: the real rows, one part per model, and every training set."""
    root = Path(f"results/chain{iterations}")
    generator = np.random.default_rng(0)

    def part(number: int) -> str:
        folder = root / f"part{number}"
        folder.mkdir(parents=True)
        ids = pa.table({"input_ids": list(generator.integers(0, 8000, size=(300, 100)))})
        pq.write_table(ids, folder / "shard-00000.parquet", compression="zstd")
        return str(folder)

    folders = {REAL: part(0)}
    for iteration in range(1, iterations + 1):
        takes = composition(BUILT_IN["accumulate"], iteration).takes
        output = str(root / f"training-set{iteration}")
        concatenate([folders[take.iteration] for take in takes], output=output)
        assert manifest(Path(output))["rows"] == 300 * iteration
        folders[iteration] = part(iteration)
    return root


def test_the_bytes_of_an_accumulate_chain_grow_as_its_iterations() -> None:
    sizes = {
        iterations: sum(path.lstat().st_size for path in accumulate_chain(iterations).rglob("*") if not path.is_dir())
        for iterations in (4, 8)
    }
    assert sizes[8] <= 1.1 * 8 / 4 * sizes[4]


def test_what_filters_have_kept_is_in_the_manifest_and_among_the_measurements() -> None:
    parts = [data_set("a"), data_set("b")]
    how = {"name": "mine", "keep": "above", "each": False, "candidates": 2, "beta": 1.0, "noise": 0.0, "random": False}
    takes = [{**ALL, "part": part, "amount": 0.5, "filter": {**how, "threshold": 60.0}} for part in (0, 1)]
    for name in ("a", "b"):
        pq.write_table(pa.table({"score": np.arange(100.0)}), f"results/{name}.parquet")
    params = training_set.Params(streams="abc", takes=takes, budget=None)
    inputs = {"real": parts[0], "parts": parts, "scores": ["results/a.parquet", "results/b.parquet"]}
    with pytest.raises(UserError, match="filter 'mine': 80 of 200 candidates have scores above 60, and 100 are to be"):
        training_set.run(Job(inputs, {"training_set": "results/few"}, params))
    assert not Path("results/few").exists()
    params.takes[0].filter.threshold = params.takes[1].filter.threshold = 40.0
    training_set.run(Job(inputs, {"training_set": "results/enough"}, params))
    (found,) = manifest(Path("results/enough"))["filters"]
    assert (found["candidates"], found["kept"], found["score"], found["passing"]) == (200, 100, 49.5, 0.6)
    values = {row["metric"]: row["value"] for row in kept("results/enough/manifest.json")}
    assert values == {
        "share_kept": 0.5,
        "candidate_score": 49.5,
        "kept_score": found["kept_score"],
        "share_passing": 0.6,
    }
    assert found["kept_score"] == pytest.approx(69.5, abs=4 * 60 / 12**0.5 / 10)
