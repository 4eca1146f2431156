"""Killing loses nothing: a stopped training resumes, to the same bytes as one that was never stopped."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from safetensors import safe_open

from selfloop.jobs.record import attempts, last_attempt

from .conftest import DEADLINE, Workflow, messages, wait_gone, wait_until

STEPS = 10 * 64  # of every training of the study slow.yaml: epochs times documents, one document a batch


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The study slow.yaml, never stopped."""
    workflow = Workflow.fresh(tmp_path_factory.mktemp("uninterrupted") / "slow", "tests/studies/slow.yaml")
    workflow.snakemake()
    return workflow


@pytest.fixture
def prepared(uninterrupted: Workflow, tmp_path: Path) -> Workflow:
    """The same before any training."""
    return emptied(uninterrupted, tmp_path / "prepared")


def emptied(workflow: Workflow, folder: Path) -> Workflow:
    """A copy with nothing but the prepared data."""
    copy = workflow.copy(folder)
    for path in (folder / "results").iterdir():
        if path.name != "data":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return copy


@pytest.fixture(scope="module")
def killed_once(uninterrupted: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The same, stopped in the middle of the first training by a kill -9 of the process that trains."""
    workflow = emptied(uninterrupted, tmp_path_factory.mktemp("killed") / "slow")
    training = Training.begin(workflow, checkpoint(workflow))
    training.step.kill()
    code, output = training.end()
    assert code == 1
    assert "was killed" in output
    return workflow


@pytest.fixture
def killed(killed_once: Workflow, tmp_path: Path) -> Workflow:
    """A copy of it, to be resumed."""
    return killed_once.copy(tmp_path / "killed")


@dataclass
class Training:
    """A training in its middle, and all processes that it consists of."""

    workflow: Workflow
    command: "subprocess.Popen[str]"
    snakemake: psutil.Process
    server: psutil.Process  # the preloaded process
    script: psutil.Process  # what Snakemake started for the job
    step: psutil.Process  # the fork that trains

    @classmethod
    def begin(cls, workflow: Workflow, *targets: str) -> "Training":
        """Run until a state has been saved."""
        before = {path: path.stat().st_mtime_ns for path in saved_states(workflow)}

        def saved() -> bool:
            return any(path.stat().st_mtime_ns != before.get(path) for path in saved_states(workflow))

        command = workflow.start(*targets)
        wait_until(lambda: saved() or command.poll() is not None, "a saved state")
        assert command.poll() is None, command.communicate()[0]
        snakemake = psutil.Process(command.pid)
        (server,) = (child for child in snakemake.children() if "selfloop.jobs.forkserver" in child.cmdline())
        (step,) = server.children()
        (script,) = (
            process
            for process in snakemake.children(recursive=True)
            if process.cmdline()[-1].endswith(".step.py") and not process.cmdline()[0].endswith("sh")
        )
        return cls(workflow, command, snakemake, server, script, step)

    @property
    def processes(self) -> list[psutil.Process]:
        """All of them."""
        return [self.snakemake, self.server, self.script, self.step]

    def end(self) -> tuple[int, str]:
        """Wait for the end of all processes; Snakemake's exit code and output."""
        output, _ = self.command.communicate(timeout=DEADLINE)
        wait_gone(self.processes)
        return self.command.returncode, output


def saved_states(workflow: Workflow) -> list[Path]:
    return list((workflow.folder / "results/state").rglob("state.safetensors"))


def saved_step(workflow: Workflow) -> int:
    """The step that the only saved state was saved at."""
    (path,) = saved_states(workflow)
    with safe_open(path, framework="pt") as file:
        step: int = json.loads(file.metadata()["values"])["step"]
    return step


def checkpoint(workflow: Workflow, iteration: int = 1) -> str:
    return f"{workflow.model_folder('slow', 'replace', iteration)}/checkpoint"


def evaluated(workflow: Workflow) -> str:
    """What the evaluation of iteration 1 writes."""
    return f"{workflow.model_folder('slow', 'replace', 1)}/measurements.json"


def model_files(workflow: Workflow) -> dict[str, str]:
    """What the training of iteration 1 makes: weights, tokenizer, learning curve."""
    name = checkpoint(workflow).removeprefix("results/").removesuffix("/checkpoint")
    files = workflow.results(name)
    return {path: files[path] for path in files if "/checkpoint/" in path or path.endswith("learning_curve.parquet")}


def log(workflow: Workflow) -> Path:
    """The log of the training of iteration 1."""
    name = checkpoint(workflow).removeprefix("results/models/").removesuffix("/checkpoint")
    return workflow.folder / f"results/logs/train/{name}.log"


def resumed_from(workflow: Workflow) -> list[int]:
    """The steps that attempts resumed from, by the record."""
    progress = [attempt.progress for attempt in attempts(log(workflow))]
    return [int(known.first) for known in progress if known is not None and known.first > 0]


def test_kill_9_of_snakemake_in_the_middle_of_a_training(prepared: Workflow, uninterrupted: Workflow) -> None:
    training = Training.begin(prepared)
    training.snakemake.kill()
    training.end()  # nobody outlives it
    step = saved_step(prepared)
    assert 0 < step < STEPS
    assert not (prepared.folder / checkpoint(prepared)).exists()

    again = prepared.snakemake()  # and no --unlock before it

    assert f"process {training.snakemake.pid}, which worked in this folder, was killed; its locks" in again.output

    assert resumed_from(prepared) == [step]
    assert prepared.results() == uninterrupted.results()
    assert saved_states(prepared) == []
    assert prepared.would_run() == set()


def test_kill_9_of_snakemake_before_it_knows_that_a_training_is_done(
    prepared: Workflow, uninterrupted: Workflow
) -> None:
    training = Training.begin(prepared)
    training.snakemake.suspend()
    wait_gone([training.step, training.script])
    training.snakemake.kill()
    training.end()
    assert (prepared.folder / checkpoint(prepared)).exists()
    step = saved_step(prepared)
    assert STEPS / 2 < step < STEPS  # at most 0.1 s before the end

    again = prepared.snakemake()

    assert "train slow-1 seed0" in again.jobs  # nobody recorded the first one
    assert resumed_from(prepared) == [step]
    assert prepared.results() == uninterrupted.results()
    assert saved_states(prepared) == []


def test_every_stop_signal_to_everybody_or_to_one_saves_the_state(prepared: Workflow, uninterrupted: Workflow) -> None:
    """In a terminal all processes get it, from a cluster at the time limit and from `kill` perhaps one."""
    stops: list[Callable[[Training], object]] = [
        lambda training: os.killpg(training.command.pid, signal.SIGINT),
        lambda training: os.killpg(training.command.pid, signal.SIGTERM),
        lambda training: training.snakemake.send_signal(signal.SIGHUP),
    ]
    steps = [0]
    for stop in stops:
        training = Training.begin(prepared, checkpoint(prepared))
        stop(training)
        code, output = training.end()
        steps.append(saved_step(prepared))
        line = f"selfloop: train: stopped at step {steps[-1]} of {STEPS}; the state is saved; run the same command"
        assert code == 1 and output.count(line) == len(messages(output)) == 1, output
        assert "Traceback" not in output and "The end of" not in output
        attempt = last_attempt(log(prepared))
        assert attempt is not None and attempt.failed is not None and attempt.failed.type == "Stopped"
        assert not (prepared.folder / checkpoint(prepared)).exists()

    prepared.snakemake(evaluated(prepared))

    assert resumed_from(prepared) == steps[1:] == sorted(set(steps[1:]))
    assert model_files(prepared) == model_files(uninterrupted)
    assert saved_states(prepared) == []


def test_kill_9_of_the_process_that_trains(killed: Workflow, uninterrupted: Workflow) -> None:
    step = saved_step(killed)
    assert 0 < step < STEPS
    assert not (killed.folder / checkpoint(killed)).exists()

    killed.snakemake(evaluated(killed))

    assert resumed_from(killed) == [step]
    assert model_files(killed) == model_files(uninterrupted)
    assert saved_states(killed) == []


def kill_script(training: Training) -> None:
    training.script.kill()


def kill_server(training: Training) -> None:
    training.server.kill()


@pytest.mark.parametrize("stop", [kill_script, kill_server])
def test_other_ways_of_killing(prepared: Workflow, uninterrupted: Workflow, stop: Callable[[Training], None]) -> None:
    training = Training.begin(prepared, checkpoint(prepared))
    stop(training)
    code, _ = training.end()  # nobody outlives anybody
    assert code == 1
    step = saved_step(prepared)
    assert 0 < step < STEPS
    assert not (prepared.folder / checkpoint(prepared)).exists()

    prepared.snakemake(evaluated(prepared))

    assert resumed_from(prepared) == [step]
    assert model_files(prepared) == model_files(uninterrupted)
    assert saved_states(prepared) == []


def test_changed_code_does_not_resume_from_a_state(killed: Workflow, uninterrupted: Workflow) -> None:
    assert saved_step(killed) > 0
    with (killed.folder / "src/selfloop/training/loop.py").open("a", encoding="utf-8") as file:
        file.write("\nEDITED = True\n")

    killed.snakemake(evaluated(killed))

    assert resumed_from(killed) == []
    assert model_files(killed) == model_files(uninterrupted)
    assert saved_states(killed) == []


def test_a_changed_setting_does_not_resume_from_a_state(killed: Workflow) -> None:
    (state,) = saved_states(killed)
    killed.change(lambda study: study["experiments"]["slow"]["training"].update(learning_rate=2.0e-3))

    killed.snakemake(evaluated(killed))

    assert resumed_from(killed) == []
    last = last_attempt(log(killed))
    assert last is not None and last.done is not None
    assert saved_states(killed) == [state]  # of the other setting, should it come back
