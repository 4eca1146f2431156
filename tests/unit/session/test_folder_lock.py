"""One Snakemake per folder: refused while one is alive, free again as soon as it is dead."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfloop.errors import UserError
from selfloop.session import folder_lock

HOLD = """
import sys
from selfloop.session import folder_lock
folder_lock.claim()
print("held", flush=True)
sys.stdin.read()
folder_lock.release()
"""


@pytest.fixture
def holder(tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], cwd=tmp_path, stdin=-1, stdout=-1, encoding="utf-8")
    assert process.stdout is not None and process.stdout.readline() == "held\n"
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
