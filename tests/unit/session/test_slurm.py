"""What is submitted to SLURM is checked before the first job, never more strictly than sbatch itself."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from selfloop.errors import UserError
from selfloop.jobs.run import gpus_of
from selfloop.planning.rules import plan_study
from selfloop.session import slurm

Put = Callable[[str, str], None]
UUID = "0123abcd-89ab-4cde-8f01-23456789abcd"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Puts a command of that name and shell script on the PATH; its calls are kept in the file `calls`."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def put(name: str, script: str) -> None:
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n{script}\n')
        (tmp_path / name).chmod(0o755)

    put("sinfo", "echo gpu; echo short; echo '7'")
    put("sbatch", "exit 1")
    return put


@pytest.mark.parametrize("asked", [set(), {"gpu"}, {"gpu,short"}, {"short", "gpu,7"}, {""}])
def test_partitions_are_what_sbatch_takes(command: Put, asked: set[str], tmp_path: Path) -> None:
    slurm.check(asked)
    assert not (tmp_path / "calls").exists() or "sbatch" not in (tmp_path / "calls").read_text()


@pytest.mark.parametrize("asked", ["shrt", "gpu,shrt", "gpu,shrt,short"])
def test_the_misspelt_one_of_several_partitions_is_named(command: Put, asked: str) -> None:
    said = "slurm_partition: 'shrt' is not a partition of this cluster. Allowed: gpu, sho"
    with pytest.raises(UserError, match=said):
        slurm.check({asked, "gpu"})


def test_a_partition_that_sbatch_takes_need_not_be_listed(command: Put, tmp_path: Path) -> None:
    command("sbatch", "exit 0")
    slurm.check({"gpu,hidden"})
    assert "--test-only --partition hidden" in (tmp_path / "calls").read_text()


@pytest.mark.parametrize("script", ["exit 1", ""])
def test_where_sinfo_says_nothing_sbatch_decides(command: Put, script: str) -> None:
    command("sinfo", script)
    slurm.check({"any"})


def test_jobs_of_a_killed_run_are_found_on_other_clusters_too(
    command: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm.time, "sleep", lambda _: None)
    queue = tmp_path / "queue"
    queue.write_text(f"CLUSTER: far\n12|{UUID}|{tmp_path}\n13|other|{tmp_path}\n14|{UUID}|/elsewhere\n")
    command("squeue", f'case "$*" in *--clusters=far*) cat {queue};; esac')
    command("scancel", f"echo 'CLUSTER: far' > {queue}")
    slurm.cancel_leftovers()
    assert "scancel" not in (tmp_path / "calls").read_text()
    slurm.cancel_leftovers({"far"})
    assert "scancel --clusters=far 12\n" in (tmp_path / "calls").read_text()


ROOT = Path(__file__).parents[3]


class Requested(dict[str, Any]):
    """A job's resources, by key and by attribute, as the executor plugin reads them."""

    __getattr__ = dict.__getitem__


class Named(SimpleNamespace):
    """A job's wildcards."""

    def keys(self) -> list[str]:
        return list(vars(self))


def submitted(tmp_path: Path, **changed: Any) -> str:
    """The command that submits a training of a 9M model, by the plugin's own functions and our profile."""
    table = yaml.safe_load((ROOT / "config/resources.yaml").read_text())
    table["gres"] = changed.pop("gres", None)
    table["default"]["train"] |= changed
    path = tmp_path / "resources.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in table.items() if value is not None}))
    paper = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    name = "tinystories-gpt2-9m"
    plan = plan_study({"experiments": {name: paper["experiments"][name] | {"seeds": [0]}}}, path)
    plan.submits = lambda: True
    job: Any = Named(model=next(iter(plan.models)))
    asked = {
        what: value(job, attempt=1) if callable(value) else value for what, value in plan.requests("train").items()
    }
    profile = yaml.safe_load((ROOT / "slurm/profile.yaml").read_text())
    given = Requested(
        {**profile["default-resources"], **{key: value for key, value in asked.items() if value is not None}}
    )
    threads = plan.threads("train")
    job = SimpleNamespace(resources=given, threads=threads(job) if callable(threads) else threads)
    names = ("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir")
    assert gpus_of(given) == table["default"]["train"]["gpu"]
    command: str = get_submit_command(job, dict.fromkeys(names, "")) + set_gres_string(job)
    return command


@pytest.mark.parametrize("gpus", [1, 4])
def test_a_step_with_gpus_is_one_task_on_one_node_with_cpus_and_memory_for_each(tmp_path: Path, gpus: int) -> None:
    words = submitted(tmp_path, gpu=gpus, mem_mb=16000).split()
    assert {"--nodes=1", f"--gpus={gpus}", f"--cpus-per-task={4 * gpus}"} <= set(words)
    assert words[words.index("--mem") + 1] == str(16000 * gpus)
    assert not any(word.startswith(("--ntasks-per-gpu", "--gres")) for word in words)
    assert 30 < int(words[words.index("-t") + 1]) < 720  # by its work


def test_a_cluster_that_wants_gres_gets_no_gpus_option(tmp_path: Path) -> None:
    words = submitted(tmp_path, gres="gpu:a100", gpu=2).split()
    assert {"--nodes=1", "--gres=gpu:a100:2", "--cpus-per-task=8"} <= set(words)
    assert not any(word.startswith(("--gpus", "--ntasks-per-gpu")) for word in words)


def test_on_a_cluster_without_gpus_a_step_has_the_cpus_and_the_time_of_the_file(tmp_path: Path) -> None:
    words = submitted(tmp_path, gpu=0, cpus=2, runtime=55).split()
    assert {"--nodes=1", "--ntasks=1", "--cpus-per-task=2"} <= set(words) and words[words.index("-t") + 1] == "55"
    assert "gpu" not in " ".join(words)


@pytest.mark.parametrize(
    ("requested", "count"),
    [({}, 0), ({"gpu": 2}, 2), ({"gpu": 0, "gres": "gpu"}, 1), ({"gres": "gpu:3"}, 3), ({"gres": "gpu:a100:2"}, 2),
     ({"gres": "lustre:2"}, 0), ({"gpu": 1, "gres": "gpu:1"}, 1)],
)  # fmt: skip
def test_gpus_requested_by_gres_count_as_those_by_gpu(requested: dict[str, Any], count: int) -> None:
    assert gpus_of(requested) == count
