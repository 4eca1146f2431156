"""A job's file is all that its step needs to run, and the record says what came of it."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from selfloop.data.atomic import atomic_file
from selfloop.errors import UserError
from selfloop.jobs import execution
from selfloop.jobs.execution import prepare, run_file
from selfloop.jobs.record import Amount, last_attempt
from selfloop.jobs.spec import JobSpec, spec_file

# A step that does what the test says.
STEP = """
import os, signal, time
from pathlib import Path
from selfloop.errors import UserError

def run(job):
    if job.params.what == "wait":
        Path("ready").write_text("")
        time.sleep(60)
    if job.params.what == "lose a worker":
        try:
            Path("ready").write_text("")
            time.sleep(60)
        finally:
            raise RuntimeError("the worker is gone")
    if job.params.what == "system error":
        raise OSError(job.params.errno, os.strerror(job.params.errno), "results/some file")
    if job.params.what == "library error":
        raise RuntimeError(f"I/O error: {os.strerror(job.params.errno)}")
    if job.params.what == "hang up":
        os.kill(os.getpid(), signal.SIGHUP)
    if job.params.what == "user error":
        raise UserError("training.epochs: 0 is not allowed.")
    if job.params.what == "gpu":
        from selfloop.training.devices import prepare_torch

        prepare_torch(job.threads, job.gpus)
    if job.params.what == "bug":
        raise KeyError("no such thing")
    with job.progress(total=10, initial=4, desc="train") as bar:
        bar.update(6)
    Path(job.output["text"]).write_text(Path(job.input["text"]).read_text() + f"{job.threads} threads")
    job.did(6, "steps")
"""


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    """A job of the step above."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "probe_step.py").write_text(STEP)
    with atomic_file(tmp_path / "in.txt") as scratch:
        scratch.write_text("read, ")
    return JobSpec(
        rule="probe",
        module="probe_step",
        folder=str(tmp_path),
        input={"text": "in.txt"},
        output={"text": "out.txt"},
        params={"what": "work"},
        threads=2,
        gpus=0,
        processes=1,
        every_seconds=60.0,
        log="logs/probe.log",
        began=0.0,
    )


def start(spec: JobSpec, *before: str) -> "subprocess.Popen[str]":
    """Run the job's file, from a folder that is not the job's."""
    around = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(spec.folder, "library")), *sys.path])}
    command = [*before, sys.executable, "-m", "selfloop.jobs.execution", str(spec.save())]
    return subprocess.Popen(
        command, cwd="/", env=around, stdin=subprocess.DEVNULL, stdout=-1, stderr=-1, encoding="utf-8"
    )


def run(spec: JobSpec) -> "subprocess.CompletedProcess[str]":
    """The same, to its end."""
    process = start(spec)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_a_job_is_the_same_after_its_file(spec: JobSpec) -> None:
    assert JobSpec.from_json(spec.save().read_text()) == spec
    assert spec.file == Path(spec.folder, "logs/probe.job.json") == spec_file(Path(spec.folder, spec.log))


def test_a_step_runs_from_its_job_s_file_wherever_one_is(spec: JobSpec, tmp_path: Path) -> None:
    done = run(spec)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.txt").read_text() == "read, 2 threads"
    attempt = last_attempt(tmp_path / "logs/probe.log")
    assert attempt is not None and attempt.done is not None and attempt.begin.rule == "probe"
    assert attempt.amounts == [Amount(6, "steps", None)]
    assert attempt.progress is not None and (attempt.progress.first, attempt.progress.total) == (4, 10)
    assert attempt.done.start_up < 60  # since now, not since the job's first attempt


def test_a_user_error_is_one_message_and_in_the_record(spec: JobSpec, tmp_path: Path) -> None:
    failed = run(replace(spec, params={"what": "user error"}))
    assert failed.returncode == 1
    assert failed.stderr == "selfloop: probe: training.epochs: 0 is not allowed.\nSee logs/probe.log.\n"
    attempt = last_attempt(tmp_path / "logs/probe.log")
    assert attempt is not None and attempt.failed is not None
    assert (attempt.failed.type, attempt.failed.message) == ("UserError", "training.epochs: 0 is not allowed.")


def test_a_step_that_requested_a_gpu_and_finds_none_where_there_is_one_does_not_train_on_the_cpu(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch sees none: its build is for CPUs, or the number names none."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "99")
    failed = run(replace(spec, params={"what": "gpu"}, gpus=1))
    assert failed.returncode == 1 and failed.stderr.count("\n") == 2
    assert failed.stderr.startswith("selfloop: probe: the step requested a GPU (CUDA_VISIBLE_DEVICES is 99), and torch")
    assert not (tmp_path / "out.txt").exists()
    assert run(replace(spec, params={"what": "gpu"}, gpus=0)).returncode == 0


@pytest.mark.parametrize("processes", [1, 2])
def test_a_step_does_not_begin_with_an_input_that_was_damaged(spec: JobSpec, tmp_path: Path, processes: int) -> None:
    (tmp_path / "in.txt").write_text("reaD, ")
    failed = run(replace(spec, processes=processes))
    assert failed.returncode == 1
    text = "in.txt has been damaged or changed: its checksum is not that of what was written. "
    text += "Delete in.txt and run Snakemake again: it is made again."
    assert failed.stderr == f"selfloop: probe: {text}\nSee logs/probe.log.\n"
    assert not (tmp_path / "out.txt").exists()
    attempt = last_attempt(tmp_path / "logs/probe.log")
    assert attempt is not None and attempt.failed is not None and attempt.failed.message == text


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo])
@pytest.mark.parametrize("place", ["results/state/a", "results/state/a/iteration1"])
def test_a_file_in_place_of_a_folder_for_the_state_is_deleted_with_a_word(
    spec: JobSpec,
    tmp_path: Path,
    place: str,
    make: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / place).parent.mkdir(parents=True)
    make(tmp_path / place)
    spec.params["state"] = "results/state/a/iteration1"
    prepare(spec, logging.getLogger())
    assert not Path(place).exists()
    assert f"{place} is not a folder and was deleted; starting from scratch" in caplog.text
    Path(spec.params["state"]).mkdir(parents=True)
    prepare(spec, logging.getLogger())
    assert Path(spec.params["state"]).exists()


def test_a_link_to_a_folder_of_states_that_is_gone_is_one_message(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    Path("results/state").symlink_to("/scratch that is gone")
    spec.params["state"] = "results/state/a/iteration1"
    with pytest.raises(UserError, match=r"^results/state is a link to /scratch that is gone, which is not there; make"):
        prepare(spec, logging.getLogger())


def test_any_other_error_keeps_its_traceback(spec: JobSpec, tmp_path: Path) -> None:
    failed = run(replace(spec, params={"what": "bug"}))
    assert failed.returncode == 1 and "KeyError: 'no such thing'" in failed.stderr
    assert "Traceback" in (tmp_path / "logs/probe.log").read_text()
    attempt = last_attempt(tmp_path / "logs/probe.log")
    assert attempt is not None and attempt.failed is not None and attempt.failed.type == "KeyError"


@pytest.mark.parametrize("what", ["wait", "lose a worker"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_step_that_is_stopped_says_so_in_one_line(spec: JobSpec, tmp_path: Path, what: str, number: int) -> None:
    process = start(replace(spec, params={"what": what}))
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    for _ in range(3):  # from a terminal, from Snakemake, from the script
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "selfloop: probe: stopped; run the same command to go on.\n")
    attempt = last_attempt(tmp_path / "logs/probe.log")
    assert attempt is not None and attempt.failed is not None


@pytest.mark.parametrize("what", ["system error", "library error"])
@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "no space left on the disk. Free some"),
        (errno.EROFS, "nothing can be written there. Make it writable"),
        (errno.ENOTDIR, "a file has the place of a folder. Move it elsewhere"),
        (errno.EACCES, "permission denied. Allow it"),
        (errno.EMFILE, "too many open files. Raise the limit"),
    ],
)
def test_an_error_of_the_system_is_one_line_that_says_what_to_do(
    spec: JobSpec, what: str, number: int, says: str
) -> None:
    failed = run(replace(spec, params={"what": what, "errno": number}))
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"selfloop: probe: {says}") and failed.stderr.count("\n") == 1
    assert "run the same command again" in failed.stderr


def test_a_gpu_whose_memory_is_full_is_one_line_that_names_what_to_lower() -> None:
    import torch

    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.2 GiB is "
        "free. Process 17 has 77.9 GiB memory in use. Of the allocated memory"
    )
    text = execution.explain(error, stopped=False)
    assert text is not None and "\n" not in text
    assert "training.micro_batch" in text and "total capacity of 79.10 GiB" in text and "Process 17" not in text


def test_a_log_that_cannot_be_opened_is_one_line(
    spec: JobSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(log: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(log))

    monkeypatch.setattr(execution, "open_log", refuse)
    assert execution.execute(spec) == 1
    assert capsys.readouterr().err.startswith("selfloop: probe: nothing can be written there. Make it writable")


def test_a_step_under_nohup_outlives_the_terminal(spec: JobSpec, tmp_path: Path) -> None:
    process = start(replace(spec, params={"what": "hang up"}), "nohup")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert (tmp_path / "out.txt").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"rule": "train"}'])
def test_a_file_that_is_no_job_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.job.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"a\.job\.json is not a job file"):
        run_file(path)
    with pytest.raises(UserError, match=r"none\.job\.json is not a job file"):
        run_file(tmp_path / "none.job.json")
