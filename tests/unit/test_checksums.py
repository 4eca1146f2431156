"""The record of an artifact: size and checksum of every file, beside it."""

import json
import math
import os
from pathlib import Path

import pytest

from selfloop.checksums import Entry, Unrecorded, files, is_shadow, measured, record_file, recorded
from selfloop.data.atomic import atomic_file, atomic_folder

EMPTY = "99aa06d3014798d86001c324468d497f"  # XXH3-128 of nothing, as its specification has it


def data_set(folder: Path) -> Path:
    """An artifact of two files, one of them in a folder."""
    with atomic_folder(folder) as scratch:
        (scratch / "inner").mkdir()
        (scratch / "a.txt").write_text("a")
        (scratch / "inner" / "b.txt").write_text("bb")
    return folder


def test_a_checksum_is_that_of_the_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"")
    assert measured(path) == Entry(0, EMPTY)
    path.write_bytes(b"\0" * 3_000_000)
    whole = measured(path)
    path.write_bytes(b"\0" * 2_999_999 + b"\1")
    assert measured(path).size == whole.size == 3_000_000
    assert measured(path).checksum != whole.checksum


def test_what_is_read_is_told_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"\0" * 3_000_000)
    seen: list[int] = []
    measured(path, seen.append)
    assert len(seen) == 3 and sum(seen) == 3_000_000


def test_the_record_is_a_hidden_file_beside_the_artifact(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "data")
    assert record_file(folder) == tmp_path / ".data.checksums"
    assert sorted(recorded(folder)) == sorted(files(folder)) == ["a.txt", "inner/b.txt"]
    assert recorded(folder)["inner/b.txt"] == measured(folder / "inner" / "b.txt")


def test_a_link_has_the_checksum_that_was_recorded_where_it_leads_though_that_is_damaged_now(
    tmp_path: Path,
) -> None:
    folder = data_set(tmp_path / "data")
    before = recorded(folder)["a.txt"]
    (folder / "a.txt").write_text("A")
    with atomic_folder(tmp_path / "linked") as scratch:
        (scratch / "0").symlink_to("../data/a.txt")
    assert recorded(tmp_path / "linked") == {"0": before}


@pytest.mark.parametrize(
    "name", ["._a.parquet", ".DS_Store", "Thumbs.db", "desktop.ini", ".nfs00ab", "a.json~", ".ipynb_checkpoints/a.json"]
)
def test_shadows_belong_to_no_artifact(tmp_path: Path, name: str) -> None:
    folder = data_set(tmp_path / "data")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("")
    assert is_shadow(name) and sorted(files(folder)) == ["a.txt", "inner/b.txt"]


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "{}", '{"algorithm": "md5", "files": {}}', "\0", '{"algorithm": 1}', "[" * 100_000]
)
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    with atomic_file(tmp_path / "value.json") as scratch:
        scratch.write_text("1")
    record_file(tmp_path / "value.json").write_text(text)
    with pytest.raises(Unrecorded, match=r"/\.value\.json\.checksums, the record of its checksums, cannot be read \("):
        recorded(tmp_path / "value.json")


@pytest.mark.parametrize(
    ("name", "size"), [("a\0", 1), ("../a", 1), ("/dev/zero", 1), ("a" * 300, 1), ("\ud800", 1), ("a", math.inf)]
)
def test_names_and_sizes_that_no_file_has_are_named(tmp_path: Path, name: str, size: float) -> None:
    folder = data_set(tmp_path / "data")
    values = {"algorithm": "xxh3-128", "files": {name: {"size": size, "checksum": "0"}}}
    record_file(folder).write_text(json.dumps(values))
    with pytest.raises(Unrecorded, match="cannot be read"):
        recorded(folder)


def test_a_record_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    folder = data_set(tmp_path / "data")
    record_file(folder).unlink()
    os.mkfifo(record_file(folder))
    with pytest.raises(Unrecorded, match=r"/\.data\.checksums, the record of its checksums, is not a file"):
        recorded(folder)


def test_entries_that_are_none_are_named(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "value.json") as scratch:
        scratch.write_text("1")
    path = record_file(tmp_path / "value.json")
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"files": {"": {"size": 1, "chocksum": "a"}}}))
    with pytest.raises(Unrecorded, match="cannot be read"):
        recorded(tmp_path / "value.json")


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unrecorded, match=r"/\.a\.checksums, the record of its checksums, is missing"):
        recorded(tmp_path / "a")
