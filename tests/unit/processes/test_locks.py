"""Who holds a lock, and that a kill frees it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfloop.processes.locks import lock

HOLD = """
import sys
from selfloop.processes.locks import lock
file = open(sys.argv[1], "a")
print(lock(file.fileno()), flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> "Iterator[subprocess.Popen[str]]":
    """A process that holds the lock of a file."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=-1, stdout=-1, encoding="utf-8")
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_is_held_by_one_process_and_freed_by_its_kill(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("a") as file, held(path) as process:
        assert not lock(file.fileno())
        assert not lock(file.fileno(), shared=True)
        process.kill()
        assert lock(file.fileno(), wait=True)


def test_those_that_only_look_do_not_keep_each_other_out(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("a") as one, path.open("a") as two:
        assert lock(one.fileno(), shared=True) and lock(two.fileno(), shared=True)
        assert not lock(two.fileno())
