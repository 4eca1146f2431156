"""Several processes that train one model: here on a CPU's cores, where users have GPUs."""

import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from selfloop.jobs.record import last_attempt

from .conftest import DEADLINE, Workflow, wait_gone, wait_until

TWO = ("--set-resources", "train:processes=2")


def curve(workflow: Workflow, folder: str) -> dict[tuple[int, str], float]:
    """A model's learning curve: its values by step and metric."""
    rows = pq.read_table(workflow.folder / folder / "learning_curve.parquet").to_pylist()
    return {(row["step"], row["metric"]): row["value"] for row in rows}


def test_two_processes_learn_as_one_does(copy: Workflow) -> None:
    """The same global batch, so the same learning curve but for the rounding of sums in another order."""
    folder = copy.model_folder("tiny", "replace", 1)
    alone = curve(copy, folder)
    target = f"{folder}/learning_curve.parquet"
    (copy.folder / target).unlink()
    run = copy.snakemake(*TWO, "--", target)
    assert run.jobs == ["train tiny-1 seed0"]
    together = curve(copy, folder)
    assert together.keys() == alone.keys()
    for place, value in alone.items():
        assert together[place] == pytest.approx(value, abs=1e-5), place


def test_a_group_that_sleeps_and_is_stopped_goes_on_to_the_weights_of_one_that_is_not(tmp_path: Path) -> None:
    whole = Workflow.fresh(tmp_path / "whole", "tests/studies/slow.yaml")
    folder = whole.model_folder("slow", "replace", 1)
    target = f"{folder}/learning_curve.parquet"
    whole.snakemake(*TWO, "--", target)
    stopped = Workflow.fresh(tmp_path / "stopped", "tests/studies/slow.yaml")
    process = stopped.start(*TWO, "--", target)
    state = stopped.folder / "results" / "state" / Path(folder).relative_to("results/models") / "state.safetensors"
    wait_until(state.exists, "the first saved state")
    children = psutil.Process(process.pid).children(recursive=True)
    lines = {child: child.cmdline() for child in children}
    for each in (process, *children):  # as a laptop does whose lid is closed
        os.kill(each.pid, signal.SIGSTOP)
    time.sleep(1)
    for each in (process, *children):
        os.kill(each.pid, signal.SIGCONT)
    (script,) = (
        child for child, line in lines.items() if line and line[-1].endswith(".step.py") and not line[0].endswith("sh")
    )
    script.terminate()  # as a cluster does at the time limit
    output, _ = process.communicate(timeout=DEADLINE)
    assert output.count("selfloop: train: stopped at step") == 1 and "the state is saved" in output
    assert "Traceback" not in output
    wait_gone(children)
    assert state.exists()
    log = stopped.folder / "results" / "logs" / "train" / f"{Path(folder).relative_to('results/models')}.log"
    stopped.snakemake(*TWO, "--", target)
    attempt = last_attempt(log)
    assert attempt is not None and attempt.progress is not None and attempt.progress.first > 0
    for name in ("checkpoint/model.safetensors", "learning_curve.parquet"):
        assert (stopped.folder / folder / name).read_bytes() == (whole.folder / folder / name).read_bytes()


def test_more_gpus_than_there_are_is_a_message(copy: Workflow) -> None:
    """This machine has none."""
    target = f"{copy.model_folder('tiny', 'replace', 1)}/learning_curve.parquet"
    (copy.folder / target).unlink()
    output = copy.snakemake("--set-resources", "train:gpu=3", "--", target, code=1).output
    assert "resources: gpu: the job requests 3 GPUs, and 0 are visible here." in output


def test_two_processes_sample_the_part_that_one_does(copy: Workflow) -> None:
    """Of 64 documents one process samples all and the other none: a slice is never divided (see the unit tests)."""
    parts = copy.folder / copy.model_folder("tiny", "replace", 1) / "parts"
    folder = next(path for path in parts.glob("t1-part0-*") if path.is_dir())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)
    copy.snakemake("--set-resources", "generate:processes=2", "--", str(folder.relative_to(copy.folder)))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir() if path.name.endswith(".partial")] == []
