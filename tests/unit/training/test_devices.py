"""The device of a step: how torch is set up for it, what is refused, and what is noted. No GPU is needed."""

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from selfloop.errors import UserError
from selfloop.jobs.device import Device
from selfloop.jobs.job import Job, StepParams
from selfloop.jobs.record import Record, last_attempt
from selfloop.processes.group import PROMISED, SIZE
from selfloop.processor import processor
from selfloop.training import devices
from selfloop.training.devices import describe, driver, note, prepare_torch


@pytest.fixture(autouse=True)
def unchanged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flags of torch and variables are afterwards as they were; a machine without GPUs."""
    for name in (PROMISED, "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)
    threads = torch.get_num_threads()
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill, cudnn, tf32 = (
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.backends.cuda.cudnn_sdp_enabled(),
        torch.backends.cudnn.allow_tf32,
    )
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict, warn_only=warns)
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.backends.cuda.enable_cudnn_sdp(cudnn)
    torch.backends.cudnn.allow_tf32 = tf32


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch says that it sees a GPU."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)


@pytest.mark.usefixtures("one_gpu")
def test_a_step_on_a_gpu_is_strictly_deterministic_and_without_plans_of_cudnn_fills_and_tf32() -> None:
    assert prepare_torch(1, 1) == torch.device("cuda", 0)
    assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.math_sdp_enabled()
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.usefixtures("one_gpu")
def test_sampling_only_warns_of_what_has_no_deterministic_version() -> None:
    prepare_torch(1, 1, strict=False)
    assert torch.are_deterministic_algorithms_enabled() and torch.is_deterministic_algorithms_warn_only_enabled()


def test_on_a_machine_without_gpus_a_step_that_requests_one_computes_on_the_cpu() -> None:
    assert prepare_torch(1, 1) == torch.device("cpu")


def test_so_does_one_that_requests_none_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROMISED, "0")
    assert prepare_torch(1) == torch.device("cpu")


def refused(monkeypatch: pytest.MonkeyPatch, error: str | None) -> str:
    """The message where a GPU is promised and torch sees none; `error` is CUDA's, None for a CPU build of torch."""

    def init() -> None:
        raise RuntimeError(error)

    monkeypatch.setattr(torch.version, "cuda", None if error is None else "13.0")
    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(UserError) as caught:
        prepare_torch(1, 1)
    return str(caught.value)


def test_a_promised_gpu_that_a_cpu_build_of_torch_cannot_see_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROMISED, "CUDA_VISIBLE_DEVICES is 3")
    said = refused(monkeypatch, None)
    assert said.startswith(
        f"the step requested a GPU (CUDA_VISIBLE_DEVICES is 3), and torch {torch.__version__} is built for CPUs: "
        "install its CUDA build with make install TORCH=cuda."
    )
    assert said.endswith("To compute on the CPU instead, set SELFLOOP_GPUS= (nothing).")


@pytest.mark.parametrize(
    ("error", "around", "module", "says"),
    [
        ("The NVIDIA driver on your system is too old (found version 12080). Update", {}, True, "newer NVIDIA driver"),
        ("Found no NVIDIA driver on your system. Please check", {}, False, "container with --nv"),
        ("CUDA driver initialization failed", {}, False, "container with --nv"),
        ("No CUDA GPUs are available", {"CUDA_VISIBLE_DEVICES": "7"}, True, r"CUDA_VISIBLE_DEVICES=7 may.*MIG mode"),
        ("No CUDA GPUs are available", {"SLURM_JOB_ID": "3"}, True, "gres in docs/cluster.md"),
    ],
)
def test_a_promised_gpu_that_cuda_does_not_find_is_a_message_with_the_cause(
    error: str, around: dict[str, str], module: bool, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "DRIVER", tmp_path if module else tmp_path / "none")
    for name, value in {PROMISED: "a sign", **around}.items():
        monkeypatch.setenv(name, value)
    said = refused(monkeypatch, error)
    assert error.partition(". ")[0] in said and "\n" not in said
    assert re.search(says, said), said


def test_a_driver_that_is_too_old_for_torch_to_begin_with_the_gpu_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_device(device: torch.device) -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 12080).")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # by the driver's own library
    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(UserError, match=r"cannot use its GPU: .*too old \(found version 12080\).*newer NVIDIA driver"):
        prepare_torch(1, 1)


@pytest.mark.usefixtures("one_gpu")
@pytest.mark.parametrize(("asked", "processes"), [(2, "1"), (1, "2")])
def test_more_gpus_or_processes_than_there_are_gpus_are_refused(
    asked: int, processes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SIZE, processes)
    with pytest.raises(UserError, match="the job requests 2 GPUs, and 1 are visible here"):
        prepare_torch(1, asked)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n", "535.129.03"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build\n", "580.95.05"),
    ],
)
def test_the_driver_s_version_is_that_of_its_kernel_module(text: str, version: str, tmp_path: Path) -> None:
    assert driver(tmp_path / "version") is None
    (tmp_path / "version").write_text(text)
    assert driver(tmp_path / "version") == version


def test_what_a_step_computes_on_is_in_its_log_and_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("a step")
    path = tmp_path / "train.log"
    with Record(path) as record, caplog.at_level(logging.INFO):
        record.begin("train", log)
        job = Job({}, {}, StepParams(), log=log, uses=record.device)
        note(job, torch.device("cpu"), torch.bfloat16, attention="FLASH_ATTENTION", compiled=True)
    attempt = last_attempt(path)
    assert attempt is not None and attempt.device is not None
    assert (attempt.device.name, attempt.device.dtype) == (processor().model, "bfloat16")
    assert attempt.device.cuda is None
    assert f"computing on {attempt.device}" in caplog.messages
    assert caplog.messages[-1].endswith(f"torch {torch.__version__}, bfloat16, attention FLASH_ATTENTION, compiled")


def test_of_a_gpu_its_name_capability_memory_driver_and_cuda_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(name="NVIDIA H100 80GB HBM3", major=9, minor=0, total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(devices, "driver", lambda: "580.95.05")
    monkeypatch.setenv(SIZE, "4")
    found = describe(torch.device("cuda", 0), torch.float32)
    name = "4 x NVIDIA H100 80GB HBM3 (compute capability 9.0, 80 GiB)"
    assert str(found) == f"{name}, driver 580.95.05, CUDA 13.0, torch {torch.__version__}, float32, eager"
    assert isinstance(found, Device) and found.count == 4


def test_bfloat16_that_a_gpu_does_not_have_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    card = SimpleNamespace(name="Tesla T4", major=7, minor=5, total_memory=16 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    job = Job({}, {}, StepParams(), log=logging.getLogger("a step"))
    for native in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, native=native: native)
        note(job, torch.device("cuda", 0), torch.bfloat16)
        assert ("bfloat16 is emulated on this GPU" in caplog.text) == (not native)


def test_each_function_of_mkl_is_called_before_several_threads_may_be_its_first() -> None:
    """Two threads that are a function's first may take a kernel of few digits (pytorch/pytorch#188792)."""

    class Recorded(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.calls: set[tuple[str, torch.dtype]] = set()

        def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if call is not torch.ops.aten.full.default:
                self.calls.add((call.overloadpacket.__name__, args[0].dtype))
                assert args[0].numel() == 1  # one thread
            return call(*args, **(kwargs or {}))

    with Recorded() as recorded:
        prepare_torch(2)
    library = Path(torch.__file__).parent / "lib/libtorch_cpu.so"
    functions = {name.decode().lower() for name in re.findall(rb"\0vms([A-Z]\w+?)(?:_64)?\0", library.read_bytes())}
    assert len(functions) > 10 or not torch.backends.mkl.is_available()
    named = {"ln": "log"}
    wanted = {(named.get(name, name), dtype) for name in functions for dtype in (torch.float32, torch.float64)}
    assert wanted <= recorded.calls
