"""What is submitted to SLURM is checked before the first job, never more strictly than sbatch itself."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from selfloop.errors import UserError
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
