"""A data set is a folder of Parquet shards that other programs open as they are."""

from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from selfloop.data import shards
from selfloop.data.shards import ShardWriter, count_rows, iterate_rows, join_shards, shard_paths

SCHEMA = pa.schema([("text", pa.string()), ("input_ids", pa.list_(pa.int32())), ("row", pa.int64())])


def row(number: int) -> dict[str, Any]:
    return {"text": f"row {number} é", "input_ids": list(range(number % 5)), "row": number}


def write(folder: Path, rows: int, **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, SCHEMA, **options) as writer:
        for number in range(rows):
            writer.append(row(number))
    return folder


def test_large_rows_are_held_in_smaller_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BUFFERED_SIZE", 20)
    (path,) = shard_paths(write(tmp_path / "data", 10))
    with pq.ParquetFile(path) as file:
        assert file.metadata.num_rows == 10
        # Each row has 7 characters and 0, 1, 2, 3, 4 list entries in turn.
        assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [3, 2, 3, 2]
    assert [value for batch in iterate_rows([path], ["row"]) for value in batch["row"].to_pylist()] == list(range(10))


@pytest.mark.parametrize(
    ("rows", "per_shard", "expected"),
    [(0, 10, [0]), (1, 10, [1]), (10, 10, [10]), (11, 10, [10, 1]), (25, 10, [10, 10, 5]), (7, 1, [1] * 7)],
)
def test_a_new_shard_begins_after_so_many_rows(tmp_path: Path, rows: int, per_shard: int, expected: list[int]) -> None:
    paths = shard_paths(write(tmp_path / "data", rows, rows_per_shard=per_shard))
    assert [pq.read_metadata(path).num_rows for path in paths] == expected
    assert [path.name for path in paths] == [f"shard-{number:05d}.parquet" for number in range(len(expected))]
    assert count_rows(tmp_path / "data") == rows


def test_shards_need_not_be_whole_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROWS_PER_GROUP", 4)
    paths = shard_paths(write(tmp_path / "data", 25, rows_per_shard=10))
    assert [pq.read_metadata(path).num_rows for path in paths] == [10, 10, 5]
    assert all(pq.read_metadata(path).row_group(0).num_rows <= 4 for path in paths)
    assert pd.read_parquet(tmp_path / "data")["row"].tolist() == list(range(25))


def test_rows_come_back_in_their_order_shard_after_shard(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", 25, rows_per_shard=10)
    batches = list(iterate_rows(shard_paths(folder), ["row", "text"], batch_rows=4))
    assert [batch.num_rows for batch in batches] == [4, 4, 2, 4, 4, 2, 4, 1]
    assert batches[0].schema.names == ["row", "text"]
    assert [value for batch in batches for value in batch.column("row").to_pylist()] == list(range(25))


def test_shards_are_compressed_with_zstd(tmp_path: Path) -> None:
    (path,) = shard_paths(write(tmp_path / "data", 5))
    group = pq.read_metadata(path).row_group(0)
    assert {group.column(column).compression for column in range(group.num_columns)} == {"ZSTD"}


def test_shadows_of_other_systems_are_no_shards(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", 5)
    (folder / "._shard-00000.parquet").write_bytes(b"\0\5\x16\7")
    assert [path.name for path in shard_paths(folder)] == ["shard-00000.parquet"]
    assert count_rows(folder) == 5


def test_every_page_of_a_shard_has_a_checksum(tmp_path: Path) -> None:
    (path,) = shard_paths(write(tmp_path / "data", 500))
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="CRC checksum"):
        pq.read_table(path, page_checksum_verification=True)


def test_a_folder_without_shards_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no Parquet shard"):
        count_rows(tmp_path)


def test_an_error_while_writing_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no more"), ShardWriter(tmp_path, SCHEMA) as writer:
        writer.append(row(0))
        raise RuntimeError("no more")


def test_a_value_of_another_type_is_an_error(tmp_path: Path) -> None:
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)), ShardWriter(tmp_path, SCHEMA) as writer:
        writer.append({"text": "a", "input_ids": ["b"], "row": 0})


def test_pandas_opens_the_folder(tmp_path: Path) -> None:
    frame = pd.read_parquet(write(tmp_path / "data", 25, rows_per_shard=10))
    assert frame["text"].tolist() == [row(number)["text"] for number in range(25)]
    assert frame["input_ids"].map(list).tolist() == [row(number)["input_ids"] for number in range(25)]


def test_pyarrow_opens_the_folder(tmp_path: Path) -> None:
    opened = pyarrow.dataset.dataset(write(tmp_path / "data", 25, rows_per_shard=10))
    assert opened.schema.equals(SCHEMA)
    assert opened.to_table().to_pylist() == [row(number) for number in range(25)]


def test_an_empty_data_set_opens_with_its_columns(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", 0)
    assert pyarrow.dataset.dataset(folder).schema.equals(SCHEMA)
    assert list(pd.read_parquet(folder).columns) == SCHEMA.names


@pytest.mark.parametrize("how", ["data_dir", "data_files"])
def test_datasets_opens_the_folder(tmp_path: Path, how: str) -> None:
    folder = write(tmp_path / "data", 25, rows_per_shard=10)
    where = {"data_dir": str(folder), "data_files": f"{folder}/*.parquet"}[how]
    opened = datasets.load_dataset("parquet", split="train", cache_dir=str(tmp_path / "cache"), **{how: where})
    assert opened.to_list() == [row(number) for number in range(25)]


def test_joined_data_sets_are_one_with_their_rows_in_order_and_no_copies(tmp_path: Path) -> None:
    folders = [write(tmp_path / str(rows), rows, rows_per_shard=4) for rows in (0, 6, 3)]
    joined = tmp_path / "joined"
    joined.mkdir()
    join_shards(folders, joined)
    assert [path.name for path in shard_paths(joined)] == [f"shard-{number:05d}.parquet" for number in range(3)]
    numbers = pd.read_parquet(joined)["row"].tolist()
    assert numbers == [*range(6), *range(3)]
    assert shard_paths(joined)[0].samefile(shard_paths(folders[1])[0])


def test_joined_empty_data_sets_are_an_empty_one(tmp_path: Path) -> None:
    joined = tmp_path / "joined"
    joined.mkdir()
    join_shards([write(tmp_path / "a", 0), write(tmp_path / "b", 0)], joined)
    assert count_rows(joined) == 0
