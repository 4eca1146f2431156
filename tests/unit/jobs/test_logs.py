"""A step's log keeps all attempts, and its end can be shown."""

import os
from pathlib import Path

import pytest

from selfloop.jobs import logs


def test_a_log_keeps_all_attempts_though_snakemake_deletes_it_between_them(tmp_path: Path) -> None:
    path = tmp_path / "rule" / "some.log"
    for attempt in ("first", "second"):
        with logs.open_log(path) as file:
            file.write(f"{attempt}\n")
        assert path.read_text().endswith(f"{attempt}\n")
        last = path.read_text()
        path.unlink()
    assert last == "first\nsecond\n"


@pytest.mark.parametrize("refused", [["link"], ["link", "symlink"]])
def test_a_log_is_written_where_links_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: list[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for name in refused:
        monkeypatch.setattr(os, name, refuse)
    path = tmp_path / "some.log"
    for attempt in ("first", "second"):
        with logs.open_log(path) as file:
            file.write(f"{attempt}\n")
            file.flush()
            assert path.read_text().endswith(f"{attempt}\n")
    assert path.read_text() == "first\nsecond\n"


def test_of_a_progress_bar_the_last_state_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "some.log"
    path.write_text("first\nsecond\n\rtrain:  10%\rtrain:  90%\nlast\n\n")
    assert logs.last_lines(path, 3) == "    second\n    train:  90%\n    last"
