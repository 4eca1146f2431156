"""One Snakemake per folder: refused while one is alive, free again as soon as it is dead."""

import errno
import fcntl
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfloop.errors import UserError
from selfloop.session import folder_lock

# File systems without the kernel's locks: they say so, or say that they lock and do not.
FLOCKS = {
    "works": "",
    "fails": "raise OSError(errno.ENOLCK, 'no locks')",
    "is not supported": "raise OSError(errno.EINVAL, 'no locks')",
    "does nothing": "return None",
}
HOLD = """
import errno, fcntl, sys
from selfloop.session import folder_lock
if sys.argv[1]:
    exec("def flock(*_): " + sys.argv[1])
    fcntl.flock = flock
folder_lock.claim()
print("held", flush=True)
sys.stdin.read()
folder_lock.release()
"""


def hold(folder: Path, flock: str = "") -> "subprocess.Popen[str]":
    """Another process that holds a folder."""
    command = [sys.executable, "-c", HOLD, flock]
    process = subprocess.Popen(command, cwd=folder, stdin=-1, stdout=-1, stderr=-1, encoding="utf-8")
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def holder(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """Another process that holds the folder."""
    process = hold(tmp_path)
    locks = tmp_path / folder_lock.LOCKS
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("x")
    yield process
    if process.poll() is None:
        process.communicate("")


def test_a_folder_that_is_held_is_refused_with_who_holds_it(
    holder: "subprocess.Popen[str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.1)
    with pytest.raises(UserError, match=rf"another Snakemake works in this folder.*process {holder.pid} on"):
        folder_lock.claim(tmp_path)
    folder_lock.clear_stale_locks(tmp_path)
    assert (tmp_path / folder_lock.LOCKS / "0.input.lock").exists()
    assert folder_lock.is_held(tmp_path)


def test_after_a_kill_the_locks_are_cleared_with_a_message(
    holder: "subprocess.Popen[str]", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    holder.kill()
    holder.wait()
    assert not folder_lock.is_held(tmp_path)
    folder_lock.clear_stale_locks(tmp_path)
    assert not (tmp_path / folder_lock.LOCKS).exists()
    assert f"process {holder.pid}, which worked in this folder, was killed" in capsys.readouterr().err
    folder_lock.claim(tmp_path)
    folder_lock.release()


def test_after_an_orderly_end_there_is_nothing_to_clear(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    holder.communicate("")
    assert (tmp_path / folder_lock.FILE).read_text() == ""
    folder_lock.clear_stale_locks(tmp_path)  # locks that no Snakemake with these rules has made
    assert (tmp_path / folder_lock.LOCKS / "0.input.lock").exists()


def test_locks_of_another_machine_are_not_cleared(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    path = tmp_path / folder_lock.FILE
    record = json.loads(path.read_text())
    assert record["host"] == socket.gethostname()
    path.write_text(json.dumps({**record, "host": "elsewhere"}))
    folder_lock.clear_stale_locks(tmp_path)
    assert (tmp_path / folder_lock.LOCKS / "0.input.lock").exists()
    assert "elsewhere" in folder_lock.refusal(tmp_path) and "snakemake --unlock" in folder_lock.refusal(tmp_path)


@pytest.mark.parametrize("linked", ["results", "results/models"])
def test_two_folders_that_share_results_by_a_link_keep_each_other_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: str
) -> None:
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.1)
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "results/models").mkdir(parents=True)
    (two / linked).parent.mkdir(parents=True)
    (two / linked).symlink_to(one / linked)
    for first, second in ((one, two), (two, one)):
        process = hold(first)
        message = rf"another Snakemake works on the same results, .*process {process.pid} on .*, in {first}\)"
        with pytest.raises(UserError, match=message):
            folder_lock.claim(second)
        process.communicate("")
        folder_lock.claim(second)
        folder_lock.release()


def test_two_folders_whose_models_are_one_place_keep_each_other_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.1)
    (tmp_path / "disk").mkdir()
    for name in ("one", "two"):
        (tmp_path / name / "results").mkdir(parents=True)
        (tmp_path / name / "results/models").symlink_to(tmp_path / "disk")
    process = hold(tmp_path / "one")
    with pytest.raises(UserError, match=rf"the same results, {tmp_path}/disk"):
        folder_lock.claim(tmp_path / "two")
    process.communicate("")


@pytest.mark.parametrize("flock", [name for name in FLOCKS if name != "works"])
def test_where_locks_do_not_work_nothing_is_cleared_and_a_living_holder_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flock: str
) -> None:
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.1)
    space: dict[str, Any] = {"errno": errno}
    exec(f"def flock(*_): {FLOCKS[flock]}", space)
    monkeypatch.setattr(fcntl, "flock", space["flock"])
    assert not folder_lock.locks_work(tmp_path)
    process = hold(tmp_path, FLOCKS[flock])
    locks = tmp_path / folder_lock.LOCKS / "0.input.lock"
    locks.parent.mkdir(parents=True)
    locks.touch()
    folder_lock.clear_stale_locks(tmp_path)
    assert folder_lock.is_held(tmp_path) and locks.exists()
    with pytest.raises(UserError, match=rf"another Snakemake works in this folder.*process {process.pid} on"):
        folder_lock.claim(tmp_path)
    process.kill()
    _, said = process.communicate()
    assert said.count("file locks do not work here") == 1
    folder_lock.clear_stale_locks(tmp_path)
    assert locks.exists() and not folder_lock.is_held(tmp_path)
    assert f"process {process.pid}" in folder_lock.refusal(tmp_path)
    assert "If it has ended: snakemake --unlock" in folder_lock.refusal(tmp_path)
    folder_lock.claim(tmp_path)  # Snakemake's own locks are gone by then
    folder_lock.release()


def test_where_locks_do_not_work_a_holder_on_another_machine_is_forgotten_at_unlock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.1)
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    folder_lock.claim(tmp_path)
    monkeypatch.setattr(folder_lock, "_held", [])  # killed
    for path in (tmp_path / folder_lock.FILE, tmp_path / "results" / folder_lock.SHARED):
        path.write_text(json.dumps({**json.loads(path.read_text()), "host": "elsewhere"}))
    with pytest.raises(UserError, match=r"on elsewhere since .*If it has ended: snakemake --unlock"):
        folder_lock.claim(tmp_path)
    folder_lock.forget(tmp_path)
    folder_lock.claim(tmp_path)
    folder_lock.release()
