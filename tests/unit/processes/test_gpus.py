"""GPUs of one machine: each step has its own, the others wait, and a kill frees what was held."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfloop.errors import UserError
from selfloop.processes import gpus

HOLD = """
import sys
from selfloop.processes import gpus
print(*gpus.take(int(sys.argv[1]), 0.01), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pretended GPUs."""
    monkeypatch.setenv(gpus.DEVICES, "4, 7")
    monkeypatch.setenv(gpus.FOLDER, str(tmp_path / "locks"))
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    assert gpus.offer() == 2


def step(count: int) -> "subprocess.Popen[str]":
    """A process that holds so many GPUs until its stdin ends."""
    command = [sys.executable, "-c", HOLD, str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")


def taken(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.usefixtures("offered")
def test_steps_have_distinct_gpus_and_one_more_waits_until_a_kill_frees_one() -> None:
    first, second = step(1), step(1)
    assert {taken(first), taken(second)} == {"4", "7"}
    third = step(1)
    with pytest.raises(subprocess.TimeoutExpired):
        third.wait(0.5)
    first.kill()
    assert taken(third) in {"4", "7"}
    for process in (second, third):
        process.communicate("")
        assert process.returncode == 0


@pytest.mark.usefixtures("offered")
def test_a_step_that_wants_two_waits_for_two() -> None:
    one = step(1)
    assert taken(one)
    both = step(2)
    with pytest.raises(subprocess.TimeoutExpired):
        both.wait(0.5)
    small = step(1)  # the one that is free is not held by who waits for both
    assert taken(small)
    for process in (one, small):
        process.communicate("")
    assert taken(both) == "4 7"
    both.communicate("")


def test_steps_that_share_gpus_begin_on_idle_ones_and_a_large_step_has_distinct_ones(
    offered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpus.SHARES, "2")
    assert gpus.offer() == 4
    small = [step(1) for _ in range(2)]
    assert {taken(process) for process in small} == {"4", "7"}
    both = step(2)
    assert taken(both) == "4 7"
    fifth = step(1)
    with pytest.raises(subprocess.TimeoutExpired):
        fifth.wait(0.5)
    small[0].kill()
    assert taken(fifth) in {"4", "7"}
    for process in (small[1], both, fifth):
        process.communicate("")


@pytest.mark.parametrize("given", ["0", "two", "1.5", "-1"])
def test_shares_that_are_no_number_are_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.SHARES, given)
    with pytest.raises(UserError, match=f"SELFLOOP_GPU_SHARES is '{given}'. Allowed: an integer from 1"):
        gpus.offer()


@pytest.mark.usefixtures("offered")
def test_cuda_sees_the_taken_gpu_alone_and_a_step_of_the_cpu_sees_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_held", held := [])
    assert gpus.take(1) == ["4"]
    assert os.environ[gpus.VISIBLE] == "4"
    assert gpus.take(0) == []
    assert os.environ[gpus.VISIBLE] == ""
    for descriptor in held:
        os.close(descriptor)


def test_where_none_are_offered_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(gpus.DEVICES, raising=False)
    monkeypatch.setenv(gpus.VISIBLE, "0")  # as SLURM sets it
    assert gpus.take(1) == []
    assert os.environ[gpus.VISIBLE] == "0"


@pytest.mark.parametrize("told", ["", "-1"])
def test_where_the_user_lets_steps_have_none_a_step_that_asks_for_one_sees_none(
    told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpus.DEVICES, told)
    monkeypatch.delenv(gpus.FOLDER, raising=False)
    monkeypatch.setenv(gpus.VISIBLE, "0")
    assert gpus.offer() == 0
    assert gpus.take(1) == []
    assert os.environ[gpus.VISIBLE] == ""


@pytest.mark.parametrize(
    ("told", "visible", "expected"),
    [
        ("0,1", None, ["0", "1"]),
        (None, "2,5", ["2", "5"]),
        (None, "", []),
        (None, "-1", []),
        ("GPU-a1", "0", ["GPU-a1"]),
    ],
)
def test_devices_are_those_told_else_those_visible(
    told: str | None, visible: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ((gpus.DEVICES, told), (gpus.VISIBLE, visible)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert gpus.devices() == expected


LISTING = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5d5ba0d6-1111)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-7e7ba0d6-2222)
  MIG 3g.20gb     Device  0: (UUID: MIG-aaaa)
  MIG 3g.20gb     Device  1: (UUID: MIG-bbbb)
"""


def test_a_gpu_is_locked_by_its_uuid_whatever_it_is_called() -> None:
    for name in ("0", "GPU-5d5b", "GPU-5d5ba0d6-1111"):
        assert gpus.identified([name], LISTING) == ([name], ["GPU-5d5ba0d6-1111"])


def test_a_gpu_in_mig_mode_is_several_devices_by_their_uuids() -> None:
    assert gpus.identified(["0", "1"], LISTING) == (
        ["0", "MIG-aaaa", "MIG-bbbb"],
        ["GPU-5d5ba0d6-1111", "MIG-aaaa", "MIG-bbbb"],
    )


def test_without_nvidia_smi_number_0_of_two_slurm_jobs_are_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert gpus.identified(["0"], "") == (["0"], ["0"])
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert gpus.identified(["0"], "") == (["0"], ["0-of-17"])


def test_steps_that_call_one_gpu_by_two_names_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "_listing", lambda: LISTING)
    monkeypatch.setenv(gpus.FOLDER, str(tmp_path / "locks"))
    monkeypatch.setenv(gpus.DEVICES, "0")
    assert gpus.offer() == 1
    first = step(1)
    assert taken(first) == "0"
    monkeypatch.setenv(gpus.DEVICES, "GPU-5d5ba0d6-1111")
    assert gpus.offer() == 1
    second = step(1)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.5)
    first.communicate("")
    assert taken(second) == "GPU-5d5ba0d6-1111"
    second.communicate("")


@pytest.mark.parametrize(
    ("around", "says"),
    [
        ({}, None),
        ({"SELFLOOP_GPUS": "0,1"}, "SELFLOOP_GPUS is 0,1"),
        ({"CUDA_VISIBLE_DEVICES": "3"}, "CUDA_VISIBLE_DEVICES is 3"),
        ({"SLURM_JOB_GPUS": "0"}, "SLURM_JOB_GPUS is 0"),
        ({"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": ""}, None),
        ({"SELFLOOP_GPUS": ""}, None),
        ({"SELFLOOP_GPUS": "0", "SELFLOOP_ALLOW_CPU": "1"}, None),
    ],
)
def test_the_environment_says_whether_a_step_should_find_a_gpu(
    around: dict[str, str], says: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (gpus.DEVICES, gpus.VISIBLE, gpus.ALLOW_CPU, *gpus.GRANTED):
        monkeypatch.delenv(name, raising=False)
    for name, value in around.items():
        monkeypatch.setenv(name, value)
    assert gpus.promised(tmp_path) == says


def test_a_device_s_file_says_so_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (gpus.DEVICES, gpus.VISIBLE, gpus.ALLOW_CPU, *gpus.GRANTED):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "nvidiactl").touch()
    assert gpus.promised(tmp_path) is None
    (tmp_path / "nvidia0").touch()
    assert gpus.promised(tmp_path) == f"{tmp_path}/nvidia* exist"
