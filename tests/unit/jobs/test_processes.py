"""A step ends with those who asked for it, and waits for another process that still does the same step."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from selfloop.jobs import processes

STEP = (
    "import time; from selfloop.jobs import processes; "
    "processes.end_with_others(); print('up', flush=True); time.sleep(60)"
)
# Snakemake, the shell that it starts, the step; the shell is there since Snakemake starts one.
MAIN = """
import subprocess, sys
from selfloop.jobs import processes
processes.announce()
shell = subprocess.Popen(["bash", "-c", sys.argv[1] + " -c " + '"$STEP"; true'])
shell.wait()
"""
LOCK = """
import sys
from pathlib import Path
from selfloop.jobs.processes import lock_log, open_log
with open_log(Path(sys.argv[1])) as file:
    lock_log(file, None)
    print("locked", flush=True)
    sys.stdin.read()
"""


def run() -> tuple["subprocess.Popen[str]", psutil.Process, psutil.Process]:
    """Such a Snakemake, its shell, its step."""
    main = subprocess.Popen(
        [sys.executable, "-c", MAIN, sys.executable], env=os.environ | {"STEP": STEP}, stdout=-1, encoding="utf-8"
    )
    assert main.stdout is not None and main.stdout.readline() == "up\n"
    (shell,) = psutil.Process(main.pid).children()
    (step,) = shell.children()
    return main, shell, step


def test_a_step_dies_with_its_shell() -> None:
    main, shell, step = run()
    shell.kill()
    assert psutil.wait_procs([step], timeout=10)[1] == []
    main.communicate(timeout=10)


def test_a_step_dies_with_snakemake() -> None:
    main, shell, step = run()
    main.kill()
    main.communicate(timeout=10)
    assert psutil.wait_procs([step, shell], timeout=10)[1] == []


def test_one_process_at_a_time_does_a_step(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    first = subprocess.Popen([sys.executable, "-c", LOCK, str(path)], stdin=-1, stdout=-1, encoding="utf-8")
    assert first.stdout is not None and first.stdout.readline() == "locked\n"
    assert processes.is_running(path)
    path.unlink()  # as Snakemake does before it tries again
    wait = """
import logging, sys
from pathlib import Path
from selfloop.jobs.processes import lock_log, open_log
with open_log(Path(sys.argv[1])) as file:
    logging.basicConfig(stream=file, format="%(message)s")
    lock_log(file, logging.getLogger("x"))
"""
    second = subprocess.Popen([sys.executable, "-c", wait, str(path)])
    deadline = time.monotonic() + 20
    while not path.exists() or "another process still does this step" not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert second.poll() is None
    first.kill()
    assert second.wait(10) == 0
    first.communicate()
    assert not processes.is_running(path)


def test_a_step_that_nobody_does_is_not_running(tmp_path: Path) -> None:
    assert not processes.is_running(tmp_path / "no.log")
    with processes.open_log(tmp_path / "some.log") as file:
        processes.lock_log(file, logging.getLogger("x"))
        assert processes.is_running(tmp_path / "some.log")
    assert not processes.is_running(tmp_path / "some.log")


def test_a_log_keeps_all_attempts_though_snakemake_deletes_it_between_them(tmp_path: Path) -> None:
    path = tmp_path / "rule" / "some.log"
    for attempt in ("first", "second"):
        with processes.open_log(path) as file:
            file.write(f"{attempt}\n")
        assert path.read_text().endswith(f"{attempt}\n")
        last = path.read_text()
        path.unlink()
    assert last == "first\nsecond\n"
