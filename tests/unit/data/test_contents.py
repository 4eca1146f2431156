"""Names of data are made of what the user's files hold; none of their dates counts."""

import json
import os
from pathlib import Path

import pytest

from selfloop.data import contents
from selfloop.data.contents import Contents, promise, unchanged
from selfloop.errors import UserError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data file in the working folder, long unchanged."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(contents, "SETTLED", -1)
    Path("mine.txt").write_text("one")
    return Path("mine.txt")


def digest(*files: str) -> str:
    held = Contents()
    found = held.of(files)
    held.keep()
    return found


def test_the_digest_follows_what_files_hold_their_names_and_their_order(file: Path) -> None:
    Path("other.txt").write_text("one")
    before = [digest("mine.txt"), digest("other.txt"), digest("mine.txt", "other.txt"), digest("other.txt", "mine.txt")]
    assert len(set(before)) == 4
    file.write_text("two")  # of the same length
    assert digest("mine.txt") != before[0]
    file.write_text("one")
    assert digest("mine.txt") == before[0]


def test_files_that_hold_the_same_as_earlier_ones_are_known(file: Path) -> None:
    for name, text in {"a (1).txt": "one", "b.txt": "two", "c.txt": "one", "none.txt": "", "none too.txt": ""}.items():
        Path(name).write_text(text)
    held = Contents()
    found = held.read_by(
        "section", lambda: ["mine.txt", "a (1).txt", "b.txt", "gone", "lost", "c.txt", "none.txt", "none too.txt"]
    )
    assert held.copies("section") == [("a (1).txt", "mine.txt"), ("c.txt", "mine.txt")]
    assert held.copies("another") == []
    assert found is not None


@pytest.mark.parametrize("date", [-2_147_483_648.0, 0.0, 4e9])
def test_no_date_counts(file: Path, date: float) -> None:
    before = digest("mine.txt")
    os.utime(file, (date, date))
    assert digest("mine.txt") == before


def test_a_file_is_read_again_only_if_something_about_it_has_changed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest("mine.txt")
    with monkeypatch.context() as patch:
        patch.setattr(Contents, "_digest", lambda *_: pytest.fail("it was read"))
        assert digest("mine.txt") == before
    kept = file.stat()
    Path("new.txt").write_text("two")
    os.utime("new.txt", ns=(kept.st_atime_ns, kept.st_mtime_ns))
    os.replace("new.txt", file)  # the same size and date
    assert digest("mine.txt") != before


def test_a_file_that_has_just_changed_is_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a coarse clock it may change twice at one time."""
    monkeypatch.setattr(contents, "SETTLED", 60_000_000_000)
    digest("mine.txt")
    assert not contents.FILES.exists()


def test_a_file_that_grows_while_it_is_read_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Contents._digest

    def grow(self: Contents, place: str) -> str:
        with file.open("a") as end:
            end.write("more")
        return read(self, place)

    monkeypatch.setattr(Contents, "_digest", grow)
    with pytest.raises(UserError, match=r"'mine.txt' changes while it is read; wait until it is complete"):
        digest("mine.txt")


def test_what_cannot_be_read_is_left_to_its_reader(file: Path) -> None:
    os.mkfifo("pipe.txt")
    assert len({digest("pipe.txt"), digest("gone.txt"), digest("mine.txt")}) == 3


@pytest.mark.parametrize("damage", ["", "[]", '{"a": ', '{"MINE": [1, 2]}'])
def test_damaged_records_are_made_anew(file: Path, damage: str) -> None:
    before = digest("mine.txt")
    contents.FILES.write_text(damage.replace("MINE", os.path.abspath(file)))
    assert digest("mine.txt") == before


def test_reading_that_takes_long_says_so(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contents, "QUIET", -1.0)
    digest("mine.txt")
    assert "selfloop: reads the data files to see whether they have changed, 3 B so far: " in capsys.readouterr().err


def test_a_job_plans_with_what_the_files_held_when_its_study_began(file: Path) -> None:
    begun = digest("mine.txt")
    promise({"section": begun, "none": None})
    file.write_text("two")
    assert Contents(in_job=True).read_by("section", lambda: ["mine.txt"]) == begun
    assert Contents(in_job=True).read_by("none", lambda: ["mine.txt"]) is None
    assert Contents().read_by("section", lambda: ["mine.txt"]) == digest("mine.txt") != begun
    assert json.loads(contents.BEGUN.read_text()) == {"section": begun, "none": None}


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_data_that_change_after_the_study_was_planned_stop_the_step(file: Path, when: str) -> None:
    planned = digest("mine.txt")
    with pytest.raises(UserError, match="the data files have changed since the study was planned"):
        if when == "before":
            file.write_text("two")
        with unchanged(planned, lambda: ["mine.txt"]):
            file.write_text("two")
    with unchanged(None, list):
        file.write_text("three")
