"""Outputs appear whole or not at all."""

import os
from pathlib import Path

import pytest

from selfloop.data.atomic import atomic_file, atomic_folder


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too, and what it holds."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "data"
    with atomic_folder(target) as scratch:
        (scratch / "inner").mkdir()
        (scratch / "inner" / "a.txt").write_text("a")
        assert not target.exists()
    assert tree(tmp_path) == {"deep/data/inner/a.txt": "a"}


def test_a_folder_takes_the_place_of_the_one_before_and_keeps_none_of_its_files(tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with atomic_folder(target) as scratch:
        (scratch / "new.txt").write_text("new")
        assert tree(target) == {"old.txt": "old"}
    assert tree(tmp_path) == {"data/new.txt": "new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_no_folder_and_what_was_there_before(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "data"
    target.mkdir()
    (target / "old.txt").write_text("old")
    with pytest.raises(error), atomic_folder(target) as scratch:
        (scratch / "half.txt").write_text("hal")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert tree(target) == {"old.txt": "old"}


def test_what_a_killed_job_left_is_not_part_of_the_next_one(tmp_path: Path) -> None:
    target = tmp_path / "data"
    with atomic_folder(target) as scratch:
        left = scratch
    left.mkdir()
    (left / "half.txt").write_text("hal")
    with atomic_folder(target) as scratch:
        (scratch / "new.txt").write_text("new")
    assert tree(tmp_path) == {"data/new.txt": "new"}


def test_links_stay_links_even_to_what_is_not_there(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "data") as scratch:
        (scratch / "link").symlink_to("../elsewhere")
    assert os.readlink(tmp_path / "data" / "link") == "../elsewhere"


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "value.json"
    with atomic_file(target) as scratch:
        scratch.write_text("1")
        assert not target.exists()
    with atomic_file(target) as scratch:
        scratch.write_text("2")
        assert target.read_text() == "1"
    assert tree(tmp_path) == {"deep/value.json": "2"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_no_file_and_what_was_there_before(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "value.json"
    target.write_text("1")
    with pytest.raises(error), atomic_file(target) as scratch:
        scratch.write_text("2 and")
        raise error
    assert tree(tmp_path) == {"value.json": "1"}


def test_a_block_that_writes_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "value.json"):
        pass
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("name", ["x" * 255, "\u5b57" * 85])
def test_a_name_may_be_as_long_as_a_file_s_can_be(tmp_path: Path, name: str) -> None:
    with atomic_folder(tmp_path / name) as scratch:
        (scratch / "inner").write_text("inner")
    with atomic_file(tmp_path / name / "inner") as scratch:
        scratch.write_text("new")
    assert tree(tmp_path) == {f"{name}/inner": "new"}
