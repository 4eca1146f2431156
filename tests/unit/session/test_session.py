"""What a `snakemake` command looks at before its jobs."""

import os
from pathlib import Path

import pytest

from selfloop.session.session import check_folders


@pytest.mark.parametrize("folder", [".snakemake", "results", "results/models", "results/report"])
def test_a_file_in_the_place_of_a_folder_is_one_message(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check_folders()
    Path(folder).mkdir(parents=True)
    check_folders()
    Path(folder).rmdir()
    os.mkfifo(folder)
    with pytest.raises(SystemExit, match=f"^selfloop: '{folder}' is not a folder, and results need one there"):
        check_folders()


def test_a_link_to_a_folder_that_is_gone_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    Path("results/models").symlink_to("../scratch")
    with pytest.raises(SystemExit, match=r"'results/models' is a link to \.\./scratch, which is not there; make that"):
        check_folders()
    Path("scratch").mkdir()
    check_folders()
