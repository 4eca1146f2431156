"""Sockets and locks lie where no other user of the machine can put anything."""

import os
import tempfile
from pathlib import Path

import pytest

from selfloop.errors import UserError
from selfloop.processes import gpus
from selfloop.processes.own_folder import open_own, own_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory of the machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_this_user_s_alone_and_the_same_for_every_process(temporary: Path) -> None:
    folder = own_folder()
    assert folder == temporary / f"selfloop-{os.getuid()}" == own_folder()
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["link", "file", "writable", "another user's"])
def test_what_another_user_may_have_put_there_is_refused(temporary: Path, what: str) -> None:
    path = temporary / f"selfloop-{os.getuid()}"
    (temporary / "ours").mkdir(mode=0o700)
    if what == "link":
        path.symlink_to(temporary / "ours")
    elif what == "file":
        path.touch()
    else:
        path.mkdir()
        path.chmod(0o777 if what == "writable" else 0o700)
        if what == "another user's":
            if os.getuid() != 0:
                pytest.skip("only root can give a folder away")
            os.chown(path, 12345, 12345)
    with pytest.raises(UserError, match="is not a folder that is yours and that only you can write to"):
        own_folder()


def test_no_link_is_followed_and_no_file_of_another_user_opened(temporary: Path) -> None:
    ours = temporary / "ours.txt"
    ours.write_text("precious")
    (temporary / "choosing").symlink_to(ours)
    with pytest.raises(UserError, match="is not a file of yours"):
        open_own(temporary / "choosing")
    if os.getuid() == 0:
        os.chown(ours, 12345, 12345)
        with pytest.raises(UserError, match="is not a file of yours"):
            open_own(ours)
    assert ours.read_text() == "precious"


def test_gpus_locks_lie_there_and_locks_that_others_can_replace_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpus.FOLDER, raising=False)
    monkeypatch.setenv(gpus.DEVICES, "0")
    monkeypatch.setenv(gpus.VISIBLE, "")
    assert gpus.offer() == 1
    folder = Path(os.environ[gpus.FOLDER])
    assert folder == own_folder()
    folder.chmod(0o777)
    with pytest.raises(UserError, match="only you can write to"):
        gpus.take(1)
