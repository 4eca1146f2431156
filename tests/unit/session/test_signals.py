"""Whichever stop signal Snakemake gets, its steps stop."""

import os
import signal
import subprocess
import sys

import pytest

from selfloop.session import signals

# A Snakemake, whose way of waiting for its jobs is to have a handler for SIGTERM, and a step that it started. Both
# write to one pipe, so a line and its end are one write.
MAIN = """
import signal, subprocess, sys
from selfloop.session import signals
signal.signal(signal.SIGTERM, lambda *_: print("waits for the step\\n", end="", flush=True))
signals.pass_on()
step = subprocess.Popen(["bash", "-c", sys.argv[2], sys.argv[1]])
while True:
    try:
        sys.exit(step.wait())
    except KeyboardInterrupt:
        print("waits for the step\\n", end="", flush=True)
"""
STEP = """
import time
from selfloop.processes import stopping
with stopping.caught(is_last=True):
    try:
        print("up", flush=True)
        time.sleep(60)
    except stopping.Stopped as stopped:
        print(f"{stopped}\\n", end="")
        time.sleep(0.3)  # until a busy machine's Snakemake has said that it waits
        raise SystemExit(5)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("to_all", [True, False])
def test_the_step_stops_and_snakemake_waits_for_it(number: int, to_all: bool) -> None:
    shell = f'{signals.SHELL_OF_MAIN}"{sys.executable}" -c "$0"; exit $?'
    process = subprocess.Popen([sys.executable, "-c", MAIN, STEP, shell], stdout=-1, encoding="utf-8", process_group=0)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    (os.killpg if to_all else os.kill)(process.pid, number)
    lines, _ = process.communicate(timeout=30)
    assert sorted(lines.splitlines()) == ["stopped; run the same command to go on.", "waits for the step"]
    assert process.returncode == 5
