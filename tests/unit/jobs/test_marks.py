"""What is shown carries a mark of its study."""

from pathlib import Path

import pytest

from selfloop.jobs.marks import marked, remove

OURS, THEIRS = "plot_headline-text-0123456789abcdef", "plot_headline-text-fedcba9876543210"
OTHERS = ("plot_headline-image-0123456789abcdef", "text_plot_headline-text-0123456789abcdef", "write_report-0123")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (THEIRS, *OTHERS):
        (tmp_path / name).touch()
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_mark_of_another_study_goes_before_the_work_and_ours_comes_after_it(folder: Path) -> None:
    with marked({"figures": ["a.png"], "mark": str(folder / OURS)}):
        assert names(folder) == set(OTHERS)
    assert names(folder) == {OURS, *OTHERS}


def test_work_that_fails_leaves_no_mark(folder: Path) -> None:
    with pytest.raises(OSError), marked({"mark": str(folder / OURS)}):
        raise OSError
    assert names(folder) == set(OTHERS)


def test_jobs_without_a_mark_leave_all_marks_alone(folder: Path) -> None:
    with marked({"checkpoint": str(folder / "checkpoint")}):
        pass
    assert names(folder) == {THEIRS, *OTHERS}


def test_a_mark_is_removed_where_there_is_none(tmp_path: Path) -> None:
    remove(tmp_path / "study" / OURS)
