"""A file is linked where the file system has links, and copied where it has none."""

import errno
import logging
import os
from pathlib import Path

import pytest

from selfloop.links import hard_link, log_copies, relative_link


def test_a_hard_link_is_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("rows")
    assert hard_link(tmp_path / "file", tmp_path / "link") == 0
    assert (tmp_path / "link").samefile(tmp_path / "file")


def test_a_relative_link_holds_from_where_its_folder_really_lies(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "other/disk/sets").mkdir(parents=True)
    (tmp_path / "study/sets").symlink_to(tmp_path / "other/disk/sets")
    (tmp_path / "study/file").write_text("rows")
    link = tmp_path / "study/sets/link"
    assert relative_link(tmp_path / "study/file", link, link.parent) == 0
    assert os.readlink(link) == "../../../study/file"
    assert link.read_text() == "rows"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK])
def test_without_links_files_are_copied_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "symlink", refuse)
    (tmp_path / "file").write_bytes(b"x" * 1_500_000)
    sizes = [
        hard_link(tmp_path / "file", tmp_path / "hard"),
        relative_link(tmp_path / "file", tmp_path / "symbolic", tmp_path),
    ]
    assert sizes == [1_500_000] * 2
    for name in ("hard", "symbolic"):
        assert not (tmp_path / name).is_symlink()
        assert not (tmp_path / name).samefile(tmp_path / "file")
        assert (tmp_path / name).read_bytes() == (tmp_path / "file").read_bytes()
    with caplog.at_level(logging.INFO, logger="selfloop"):
        monkeypatch.setattr(logging.getLogger("selfloop"), "propagate", True)
        log_copies([0, *sizes])
    assert caplog.messages == ["no links can be made here; files copied: 2, 3.0 MB"]


def test_a_file_that_is_there_is_never_replaced_by_a_copy(tmp_path: Path) -> None:
    for name in ("file", "link"):
        (tmp_path / name).write_text(name)
    with pytest.raises(FileExistsError):
        hard_link(tmp_path / "file", tmp_path / "link")
    assert (tmp_path / "link").read_text() == "link"
