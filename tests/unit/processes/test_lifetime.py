"""A step ends with those who asked for it."""

import os
import subprocess
import sys

import psutil

STEP = (
    "import time; from selfloop.processes import lifetime; "
    "lifetime.end_with_others(); print('up', flush=True); time.sleep(60)"
)
# Snakemake, the shell that it starts, the step; the shell is there since Snakemake starts one.
MAIN = """
import subprocess, sys
from selfloop.processes import lifetime
lifetime.announce()
shell = subprocess.Popen(["bash", "-c", sys.argv[1] + " -c " + '"$STEP"; true'])
shell.wait()
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
