"""Outputs appear whole or not at all."""

import errno
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from selfloop.checksums import measured, recorded
from selfloop.data.atomic import atomic_file, atomic_folder


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, hidden ones too but for records of checksums, and what it holds."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".checksums"]
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


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


def test_links_stay_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("a")
    with atomic_folder(tmp_path / "data") as scratch:
        (scratch / "link").symlink_to("../elsewhere")
    assert os.readlink(tmp_path / "data" / "link") == "../elsewhere"


def test_a_link_that_leads_nowhere_is_an_error_and_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "data") as scratch:
        (scratch / "link").symlink_to("../elsewhere")
    assert list(tmp_path.iterdir()) == []


def test_the_checksums_of_what_appears_lie_beside_it_and_are_there_before_it(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "data") as scratch:
        (scratch / "a.txt").write_text("a")
    with atomic_file(tmp_path / "value.json") as scratch:
        scratch.write_text("12")
    assert recorded(tmp_path / "data") == {"a.txt": measured(tmp_path / "data" / "a.txt")}
    assert recorded(tmp_path / "value.json")[""].size == 2
    assert [path.name for path in tmp_path.glob("data/*")] == ["a.txt"]


def test_a_kill_before_the_last_step_leaves_checksums_without_an_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "data") as scratch:
        (scratch / "a.txt").write_text("a")
    assert [path.name for path in tmp_path.iterdir()] == [".data.checksums"]


def test_a_file_that_no_step_reads_needs_no_checksum(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "page.html", checksum=False) as scratch:
        scratch.write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


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


@pytest.mark.parametrize(("number", "goes_on"), [(errno.EINVAL, True), (errno.ENOSYS, True), (errno.EIO, False)])
def test_a_file_system_need_not_know_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, goes_on: bool
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with nullcontext() if goes_on else pytest.raises(OSError), atomic_file(tmp_path / "a.txt") as scratch:
        scratch.write_text("a")
    assert (tmp_path / "a.txt").exists() == goes_on
