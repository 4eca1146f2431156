"""Kill -9 at random times to random processes of a run, which is started again until it is done.

The bytes are those of a run that nobody touched.
"""

import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from selfloop.processes import gpus
from selfloop.processes.locks import lock

from .conftest import DEADLINE, Workflow, alive, messages, wait_gone, wait_until

KILLS = 20
SEED = 1
KINDS = ("snakemake", "server", "step", "step", "script")
PATIENCE = 10.0  # seconds to wait for a process of a kind
LONGEST = 0.6  # seconds from the start of some job to the next kill


def kind(process: psutil.Process, main: int) -> str | None:
    """What a process of a run is for; None for one that is just coming or going."""
    try:
        line = process.cmdline()
        if process.pid == main:
            return "snakemake"
        if "selfloop.jobs.forkserver" in line:
            return "server" if process.ppid() == main else "step"
        if line and line[-1].endswith(".py") and not line[0].endswith("sh"):
            return "script"
        return None
    except psutil.Error:
        return None


def processes(main: int) -> dict[str, list[psutil.Process]]:
    """The processes of a run by what they are for."""
    found: dict[str, list[psutil.Process]] = {}
    try:
        root = psutil.Process(main)
        for process in (root, *root.children(recursive=True)):
            if (name := kind(process, main)) is not None and alive(process):
                found.setdefault(name, []).append(process)
    except psutil.Error:
        return {}
    return found


def one_seed_more(study: dict[str, Any]) -> None:
    """Make the study longer."""
    seeds = study["experiments"]["chaos"]["seeds"]
    seeds.append(len(seeds))


def test_twenty_kills(tmp_path: Path) -> None:
    workflow = Workflow.fresh(tmp_path / "chaos", "tests/studies/chaos.yaml")
    devices = tmp_path / "gpus"
    workflow.variables = {gpus.DEVICES: "0,1", gpus.FOLDER: str(devices), gpus.ALLOW_CPU: "1"}  # pretended ones
    dice = random.Random(SEED)
    killed: Counter[str] = Counter()
    starts = 0
    seen: set[psutil.Process] = set()
    code: int | None = None
    while code != 0:
        command = workflow.start("--retries", "1", "--keep-going")
        starts += 1
        assert starts < 3 * KILLS, killed
        while command.poll() is None and killed.total() < KILLS:
            wanted = dice.choice(KINDS)
            deadline = time.monotonic() + PATIENCE
            while command.poll() is None and time.monotonic() < deadline:
                there = processes(command.pid)
                if "script" in there and wanted in there:  # jobs run; a killed server has no steps any more
                    break
                time.sleep(0.02)
            with suppress(subprocess.TimeoutExpired):
                command.wait(dice.uniform(0, LONGEST))
            there = processes(command.pid)
            seen |= {process for some in there.values() for process in some}
            if wanted in there:
                dice.choice(there[wanted]).send_signal(signal.SIGKILL)
                killed[wanted] += 1
        output, _ = command.communicate(timeout=3 * DEADLINE)
        code = command.returncode
        wait_gone(list(seen))  # nobody outlives Snakemake
        if code == 0 and killed.total() < KILLS:  # on a fast machine
            workflow.change(one_seed_more)
            code = None
    print(f"{killed.total()} kills, {dict(killed)}, {starts} starts")

    assert killed["snakemake"] >= 2 and killed["step"] + killed["script"] >= 4, killed
    untouched = Workflow.fresh(tmp_path / "untouched", workflow.config)
    untouched.variables = workflow.variables  # a step with a GPU has more threads, which add up in another order
    untouched.change(lambda study: study.update(workflow.study))
    untouched.snakemake()
    assert workflow.results() == untouched.results()
    assert workflow.would_run() == set(), output
    assert [path for path in (workflow.folder / "results").rglob("*.partial")] == []
    locks = workflow.folder / ".snakemake/locks"
    assert not locks.exists() or not list(locks.iterdir())
    assert (workflow.folder / ".snakemake/selfloop.lock").read_text() == ""
    for path in devices.glob("*.lock"):
        with path.open() as file:
            assert lock(file.fileno())


def test_a_second_snakemake_is_refused_and_the_first_goes_on(tmp_path: Path, finished: Workflow) -> None:
    workflow = Workflow.fresh(tmp_path / "tiny", finished.config)
    first = workflow.start()
    claim = workflow.folder / ".snakemake/selfloop.lock"
    wait_until(lambda: claim.exists() and claim.read_text(), "the first to begin")
    second = workflow.start()
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 1
    (line,) = messages(output)
    assert f"another Snakemake works in this folder, {workflow.folder} (process {first.pid} on" in line
    assert "--unlock" not in output and "Traceback" not in output
    unlock = workflow.start("--unlock")
    output, _ = unlock.communicate(timeout=60)
    assert unlock.returncode == 1 and "another Snakemake works in this folder" in output
    output, _ = first.communicate(timeout=3 * DEADLINE)
    assert first.returncode == 0, output
    assert workflow.results() == finished.results()
