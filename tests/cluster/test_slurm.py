"""A study on a real SLURM, in which everything goes wrong that goes wrong on clusters.

The tables are those of a run that nothing happened to.
"""

import itertools
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest
import yaml

from selfloop.jobs.record import Attempt, attempts, is_running, last_attempt, recorded_logs
from selfloop.planning import paths
from selfloop.planning import study as studies
from selfloop.planning.check import check
from selfloop.processes import gpus

from ..unit.session.test_slurm import submitted
from ..workflow.conftest import Workflow
from . import slurm as slurms
from .slurm import Slurm

DEADLINE = 900.0  # seconds; several times what the run takes
OPTIONS = ["--profile", "slurm", "--slurm-init-seconds-before-status-checks", "2"]


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A SLURM of two nodes that each have two GPU slots."""
    with slurms.running() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The same study on this machine, which nothing happens to."""
    workflow = Workflow.fresh(tmp_path_factory.mktemp("undisturbed") / "study", "tests/studies/cluster.yaml")
    workflow.snakemake()
    return workflow


def all_attempts(workflow: Workflow) -> list[Attempt]:
    """All attempts of all steps."""
    return [attempt for log in recorded_logs(workflow.folder / "results/logs") for attempt in attempts(log)]


def end(attempt: Attempt) -> float:
    """When an attempt is known to have ended."""
    return (attempt.done or attempt.failed or attempt.begin).time


class Disturbed:
    """The study on the cluster, while its trainings are disturbed."""

    def __init__(self, workflow: Workflow, slurm: Slurm) -> None:
        self.workflow, self.slurm = workflow, slurm
        study = studies.build(check(workflow.study))
        chains = {(chain.experiment.name, chain.seed): chain for chain in study.chains}
        self.models = {seed: chains["faults", seed].models[0].name for seed in range(4)}
        self.second = chains["loop", 0].models[1].name
        self.loop = [paths.model(model.name) for model in chains["loop", 0].models]
        self.parts = [part.folder for parts in chains["loop", 0].parts for part in parts]
        (linear,) = [model for model in study.models.values() if model.domain.name == "linear"]
        self.linear = linear.name
        self.output = ""
        self.started: list[subprocess.Popen[str]] = []

    def targets(self) -> list[str]:
        """All trainings, and of one chain and one domain everything; the cheap rest can be done anywhere."""
        measured = [f"{folder}/measurements.json" for folder in (*self.loop, paths.model(self.linear))]
        measured += [f"{part}.measurements.json" for part in self.parts]
        return measured + [paths.checkpoint(name) for name in self.models.values()]

    def start(self) -> None:
        """Start Snakemake as it is typed."""
        self.started.append(self.workflow.start(*OPTIONS, *self.targets(), cores=None))

    def log(self, model: str) -> Path:
        """The log of a training."""
        return self.workflow.folder / f"results/logs/train/{model}.log"

    def attempts(self, model: str) -> list[Attempt]:
        """The attempts of a training."""
        return attempts(self.log(model))

    def trains(self, model: str) -> bool:
        """Whether a training runs, has been seen by SLURM, and has saved a state."""
        state = self.workflow.folder / f"results/state/{model}/state.safetensors"
        return is_running(self.log(model)) and state.exists() and last_attempt(self.log(model)) is not None

    def was_stopped(self, model: str) -> bool:
        """Whether an attempt of a training was told to end, and saved its state."""
        failed = [attempt.failed for attempt in self.attempts(model)]
        return "Stopped" in {known.type for known in failed if known is not None}

    def place(self, model: str) -> tuple[str, str]:
        """Node and SLURM job of a training."""
        begin = self.attempts(model)[-1].begin
        return begin.machine, str(begin.slurm_job)

    def processes(self, job: str) -> list[psutil.Process]:
        """What runs of a job."""
        found = []
        for process in self.slurm.processes():
            try:
                if process.environ().get("SLURM_JOB_ID") == job:
                    found.append(process)
            except psutil.Error:  # it has ended meanwhile
                continue
        return found

    def hold(self, model: str) -> None:
        """Suspend a training, so that it is not over before its fault comes."""
        for process in self.processes(self.place(model)[1]):
            with suppress(psutil.Error):
                if any(word.endswith(".step.py") for word in process.cmdline()):
                    process.suspend()

    def wake(self, model: str) -> None:
        """Wake a training that was held."""
        for process in self.processes(self.place(model)[1]):
            with suppress(psutil.Error):
                process.resume()

    def hold_until_told(self, waiting: set[str], over: threading.Event) -> None:
        """Hold every training of `waiting` once it has saved a state; faults come one after the other."""
        held: set[str] = set()
        while not over.wait(0.05):
            for model in waiting - held:
                if self.trains(model) and model in waiting:
                    self.hold(model)
                    held.add(model)

    # The faults. Each is done to a training that runs and has saved a state.

    def requeued(self, model: str) -> None:
        """As an administrator or a job of higher priority does."""
        self.slurm.command("scontrol", "requeue", self.place(model)[1])

    def out_of_time(self, model: str) -> None:
        """The time limit comes; the training is held up, so that it cannot be done before."""
        _, job = self.place(model)
        self.hold(model)  # SLURM wakes whom it tells to end
        # With its date: a time of day that has just gone by would be tomorrow's.
        soon = (datetime.now() + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%S")
        self.slurm.command("scontrol", "update", f"JobId={job}", f"EndTime={soon}")
        # Before the next fault: the node that dies may be this one.
        slurms.wait_until(lambda: self.was_stopped(model), "the time limit")

    def node_dies(self, model: str) -> None:
        """The node goes with all that runs on it, and comes back."""
        node, _ = self.place(model)
        jobs = self.slurm.command("squeue", "--noheader", "--format=%i", f"--nodelist={node}").split()
        self.slurm.kill(node)
        steps = self.slurm.stepds(jobs)  # first, for they would report what happens to the others
        for process in [*steps, *(process for job in jobs for process in self.processes(job))]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        slurms.wait_until(lambda: self.slurm.states().get(node, "").startswith("down"), f"{node} to be noticed")
        self.slurm.start(node)

    def snakemake_dies(self, model: str) -> None:
        """Snakemake is killed while its jobs run, and the same command is typed again.

        The training is held up meanwhile: it could be done before a busy machine has read the study again.
        """
        killed = self.started[-1]
        killed.kill()
        self.output += killed.communicate(timeout=DEADLINE)[0]
        assert self.trains(model)
        self.hold(model)  # SLURM wakes whom it cancels
        self.start()

    def controller_restarts(self, model: str) -> None:
        """SLURM's controller is killed and started again, once it has written down which jobs there are.

        A controller that is killed within seconds of a job's submission forgets that job, and nobody hears of it again.
        """
        self.slurm.save_jobs()
        self.slurm.kill("slurmctld")
        time.sleep(2)
        self.slurm.start("slurmctld")
        self.slurm.wait_ready()

    def run(self) -> dict[str, float]:
        """Run until all is done; when each fault was done, in seconds after the start."""
        pending: dict[str, tuple[str, Callable[[str], None]]] = {
            "requeued": (self.models[0], self.requeued),
            "out of time": (self.models[1], self.out_of_time),
            "node dies": (self.models[2], self.node_dies),
            "Snakemake dies": (self.models[3], self.snakemake_dies),
            "controller restarts": (self.second, self.controller_restarts),
        }
        began = time.monotonic()
        done = {}
        self.start()
        waiting, over = {model for model, _ in pending.values()}, threading.Event()
        holder = threading.Thread(target=self.hold_until_told, args=(waiting, over), daemon=True)
        holder.start()
        try:
            self.disturb(pending, waiting, done, began)
        finally:
            over.set()
            holder.join()
        self.output += self.started[-1].communicate()[0]
        assert not pending, f"never done: {list(pending)}\n{self.output}"
        return done

    def disturb(
        self,
        pending: dict[str, tuple[str, Callable[[str], None]]],
        waiting: set[str],
        done: dict[str, float],
        began: float,
    ) -> None:
        """Do the faults that are pending, each as soon as its training runs, until Snakemake has ended."""
        while self.started[-1].poll() is None:
            assert time.monotonic() - began < DEADLINE, "the run takes too long"
            for name, (model, fault) in list(pending.items()):
                if self.trains(model):
                    del pending[name]
                    done[name] = round(time.monotonic() - began, 1)
                    waiting.discard(model)
                    time.sleep(0.2)  # for the holder, if it is at it
                    self.wake(model)
                    fault(model)
            time.sleep(0.2)

    def stop(self) -> None:
        """Kill what is left."""
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()


def ask_for_little(workflow: Workflow) -> None:
    """Let the steps fit on the test cluster's nodes; but a linear training is given too little memory."""
    path = workflow.folder / "config/resources.yaml"
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    for steps in table.values():
        for request in steps.values():
            request["mem_mb"] = 1500
            request["cpus_per_gpu"] = 1
    table["linear"]["train"]["mem_mb"] = 150
    path.write_text(yaml.safe_dump(table), encoding="utf-8")


@pytest.fixture(scope="module")
def disturbed(slurm: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disturbed]:
    """The study, run on the cluster with all faults, and its tables made."""
    workflow = Workflow.fresh(tmp_path_factory.mktemp("disturbed") / "study", "tests/studies/cluster.yaml")
    workflow.variables = {gpus.ALLOW_CPU: "1"}  # SLURM's GPUs are pretended ones
    ask_for_little(workflow)
    study = Disturbed(workflow, slurm)
    try:
        print(study.run())
    finally:
        study.stop()
    assert study.started[-1].returncode == 0, study.output
    yield study


def test_the_tables_are_those_of_an_undisturbed_run(disturbed: Disturbed, undisturbed: Workflow) -> None:
    left = disturbed.workflow.snakemake()  # what was no target above: evaluations of the other chains, tables, figures
    assert not any(job.startswith("train") for job in left.jobs)
    assert disturbed.workflow.results() == undisturbed.results()
    assert disturbed.workflow.would_run() == set()


def test_every_training_resumed_from_its_state(disturbed: Disturbed) -> None:
    for seed, model in disturbed.models.items():
        progress = [attempt.progress for attempt in disturbed.attempts(model)]
        assert any(known is not None and known.first > 0 for known in progress), seed
    for seed in (1, 3):  # out of time; cancelled by the next Snakemake
        assert disturbed.was_stopped(disturbed.models[seed]), seed
    assert re.search(r"cancels \d+ jobs? of a Snakemake that was killed", disturbed.output)


def test_a_restarted_controller_is_not_noticed(disturbed: Disturbed) -> None:
    assert len(disturbed.attempts(disturbed.second)) == 1


def test_a_job_that_was_killed_for_memory_comes_back_with_more(disturbed: Disturbed) -> None:
    jobs = disturbed.slurm.command("squeue", "--states=all", "--noheader", "--format=%i %T %m %k")
    lines = [line.split(None, 3) for line in jobs.splitlines() if "rule_train" in line and "linear" in line]
    submitted = sorted((int(job), state, int(memory.removesuffix("M"))) for job, state, memory, _ in lines)
    *earlier, (_, last_state, last_memory) = submitted
    assert last_state == "COMPLETED"
    assert last_memory > 150
    assert all(state != "COMPLETED" for _, state, _ in earlier)
    asked = [memory for _, _, memory in submitted]
    # The Snakemake that was killed may have been at it; the next one asks for 150 again.
    assert all(memory in {150, before + 150} for before, memory in itertools.pairwise([0, *asked]))


def test_both_nodes_work_and_gpu_steps_have_distinct_devices(disturbed: Disturbed) -> None:
    found = [attempt for attempt in all_attempts(disturbed.workflow) if attempt.begin.slurm_job is not None]
    assert {attempt.begin.machine for attempt in found} == {"n1", "n2"}
    with_gpu = [attempt for attempt in found if attempt.begin.gpus is not None]
    assert {attempt.begin.machine for attempt in with_gpu} == {"n1", "n2"}
    assert {attempt.begin.gpus for attempt in with_gpu} <= {"0", "1"}
    together = [
        (one, other)
        for place, one in enumerate(with_gpu)
        for other in with_gpu[:place]
        if one.begin.time < end(other) and other.begin.time < end(one) and one.begin.slurm_job != other.begin.slurm_job
    ]
    assert together
    for one, other in together:
        assert (one.begin.machine, one.begin.gpus) != (other.begin.machine, other.begin.gpus)


@pytest.mark.parametrize("gres", [None, "gpu"])
def test_a_step_with_two_gpus_has_both_on_one_node_with_cpus_for_each(
    slurm: Slurm, tmp_path: Path, gres: str | None
) -> None:
    """What the executor plugin submits for it, and what it starts in the job."""
    said = tmp_path / "said"
    inner = f"srun -n1 --cpus-per-task=4 {'--gpus=2' if gres is None else ''} --nodes=1 env"
    command = submitted(tmp_path, gres=gres, gpu=2, mem_mb=1000, cpus_per_gpu=2)
    job = slurm.command(*shlex.split(command), "--output", str(said), "--wrap", inner).strip()
    slurms.wait_until(lambda: job not in slurm.command("squeue", "--noheader", "--format=%i").split(), "the job's end")
    around = dict(line.split("=", 1) for line in said.read_text().splitlines() if "=" in line)
    assert (around["SLURM_JOB_NUM_NODES"], around["CUDA_VISIBLE_DEVICES"]) == ("1", "0,1")
    assert around["SLURM_CPUS_PER_TASK"] == "4"
    assert around["SLURM_MEM_PER_NODE"] == "2000"


def test_steps_of_the_cpu_have_no_gpu_and_steps_of_seconds_no_job(disturbed: Disturbed) -> None:
    found = all_attempts(disturbed.workflow)
    in_queue = {attempt.begin.rule for attempt in found if attempt.begin.slurm_job is not None}
    assert in_queue == {
        "prepare_data", "train_tokenizer", "tokenize", "train", "generate", "evaluate_model", "evaluate_part",
    }  # fmt: skip
    of_cpu = [
        attempt
        for attempt in found
        if attempt.begin.rule in {"prepare_data", "train_tokenizer", "tokenize", "concatenate"}
    ]
    assert of_cpu and all(attempt.begin.gpus is None for attempt in of_cpu)
    linear = disturbed.attempts(disturbed.linear)
    assert linear and all(attempt.begin.gpus is None for attempt in linear)


def test_a_partition_that_is_not_there_is_one_message(slurm: Slurm, tmp_path: Path) -> None:
    workflow = Workflow.fresh(tmp_path / "study", "tests/studies/linear.yaml")
    process = workflow.start(*OPTIONS, "--default-resources", "slurm_partition=nosuch", cores=None)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    messages = re.findall(r"selfloop: .*", output)
    assert len(messages) == 1 and "nosuch" in messages[0] and "main" in messages[0], output
    assert workflow.results("data", "models") == {}


def test_without_sbatch_there_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = Workflow.fresh(tmp_path / "study", "tests/studies/linear.yaml")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "sh", "git", "which"):
        (tools / name).symlink_to(
            next(Path(folder, name) for folder in ("/usr/bin", "/bin") if Path(folder, name).exists())
        )
    monkeypatch.setenv("PATH", str(tools))
    process = workflow.start(*OPTIONS, cores=None)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    (message,) = re.findall(r"selfloop: .*", output)
    assert "no sbatch on the PATH" in message
    assert workflow.results("data", "models") == {}
