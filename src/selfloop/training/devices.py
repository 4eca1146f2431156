"""The device of a step, its dtypes and its memory."""

import os
import re
import shutil
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from selfloop.errors import UserError
from selfloop.jobs.device import Device
from selfloop.processes.group import PROMISED, rank, size
from selfloop.processor import auto_precision, processor

if TYPE_CHECKING:  # vLLM's environment lacks what it imports
    from selfloop.jobs.job import Job, StepParams

DRIVER = Path("/proc/driver/nvidia/version")
INSTALL = "install its CUDA build with make install TORCH=cuda"
# What ATen has MKL compute (aten/src/ATen/cpu/vml.h), by its names in torch.
VML = (
    *("acos", "asin", "atan", "cos", "erf", "erfc", "erfinv", "exp", "log", "log10", "log2", "sin", "sqrt", "tan"),
    *("tanh", "trunc"),
)
ON_CPU = "To compute on the CPU instead, set SELFLOOP_GPUS= (nothing)."
VISIBLE = "CUDA_VISIBLE_DEVICES"
# What torch.compile starts, by device: the variable that names it, and what it looks for otherwise.
COMPILERS = {"cpu": ("CXX", "g++", "clang++"), "cuda": ("CC", "gcc", "clang")}


def prepare_torch(threads: int, gpus: int = 0, strict: bool = True) -> torch.device:
    """The device to compute on: this rank's GPU if there is one, else the CPU; with deterministic algorithms.

    Args:
        threads: CPU threads of this process.
        gpus: GPUs that the step requested; 0 where it takes what there is.
        strict: raise an error at an operation that is not deterministic on a GPU, also in what torch itself could do
            either way (the backward pass of attention); otherwise warn.

    Raises:
        UserError: fewer GPUs are visible, or none where something says that there is one.
    """
    torch.set_num_threads(threads)
    _resolve_vml()
    visible = torch.cuda.device_count()
    if gpus > 0 and visible == 0 and (sign := os.environ.get(PROMISED)):
        raise UserError(f"the step requested a GPU ({sign}), and {_cause()} {ON_CPU}")
    needed = max(gpus, size() if visible else 1)
    if needed > max(visible, 1):
        raise UserError(
            f"resources: gpu: the job requests {needed} GPUs, and {visible} are visible here. Request at most that "
            "many, or CPU processes with --set-resources train:processes=2 train:gpu=0."
        )
    if visible == 0:
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS is not deterministic
    # What torch.use_deterministic_algorithms does, but for its import of torch._inductor, which takes a second: see
    # `compile_deterministically`.
    torch._C._set_deterministic_algorithms(True, warn_only=not strict)
    torch._C._set_deterministic_fill_uninitialized_memory(False)  # a write more of every tensor
    # On an H100, attention would take cuDNN, which builds a plan of tens of milliseconds for every new shape, and keeps
    # it: here, lengths of documents and numbers of rows are ever new.
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cudnn.allow_tf32 = False  # else convolutions of float32 have mantissas of 10 bits
    device = torch.device("cuda", rank())
    try:
        torch.cuda.set_device(device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the step cannot use its GPU: {_cause(error)} {ON_CPU}") from error
    return device


def _resolve_vml() -> None:
    """Have MKL choose the kernel of each of its functions while one thread runs.

    It does so at a function's first call. Where several threads are the first, one may compute its share with a kernel
    of a tenth of the digits (pytorch/pytorch#188792).
    """
    for dtype in (torch.float32, torch.float64):
        half = torch.full((1,), 0.5, dtype=dtype)
        for name in VML:
            getattr(half, name)()


def compile_deterministically(device: torch.device) -> None:
    """Let what torch.compile makes be deterministic on a GPU, too."""
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=torch.is_deterministic_algorithms_warn_only_enabled())


def missing_to_compile(device: torch.device) -> str | None:
    """What torch.compile lacks on this machine; None if nothing."""
    variable, *names = COMPILERS[device.type]
    if not any(shutil.which(name) for name in (os.environ.get(variable), *names) if name):
        return f"a compiler ({', '.join(names)}, or what {variable} names)"
    header = Path(sysconfig.get_path("include"), "Python.h")
    return None if header.is_file() else f"{header} (Debian's package python3-dev)"


def _cause(error: BaseException | None = None) -> str:
    """Why torch has no GPU, and what to do; a sentence that goes on after a comma or a colon."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built for CPUs: {INSTALL}."
    if error is None:
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except (RuntimeError, AssertionError) as raised:
            error = raised
    said = str(error).splitlines()[0].strip().rstrip(".") if error is not None and str(error) else "it sees none"
    visible = os.environ.get(VISIBLE)
    if "too old" in said or "insufficient" in said:
        advice = f"CUDA {torch.version.cuda} needs a newer NVIDIA driver, or take a build for an older CUDA (README.md)"
    elif not DRIVER.exists() or "no NVIDIA driver" in said:
        advice = "start a container with --nv (apptainer) or --gpus all (docker), or install NVIDIA's driver"
    elif "SLURM_JOB_ID" in os.environ and visible is None:
        advice = "the cluster may grant GPUs by gres alone: see gres in docs/cluster.md"
    else:
        advice = (
            f"{VISIBLE}={visible or ''} may name none that there is; instances of a GPU in MIG mode are named "
            "by their UUIDs (nvidia-smi -L)"
        )
    return f"torch {torch.__version__} finds none ({said}): {advice}."


def describe(device: torch.device, dtype: torch.dtype, attention: str | None = None, compiled: bool = False) -> Device:
    """What is computed on, for logs and records; `attention` and `compiled` as in `Device`."""
    told = str(dtype).removeprefix("torch.")
    if device.type != "cuda":
        name = torch.backends.cpu.get_cpu_capability()
        cpu = processor().model or "CPU"
        return Device(cpu, name, total_memory(device), None, None, torch.__version__, told, attention, compiled)
    found = torch.cuda.get_device_properties(device)
    capability = f"compute capability {found.major}.{found.minor}"
    memory = int(found.total_memory)
    versions = driver(), torch.version.cuda, torch.__version__
    return Device(found.name, capability, memory, *versions, told, attention, compiled, size())


def driver(file: Path = DRIVER) -> str | None:
    """The version of NVIDIA's driver, as its kernel module says it."""
    try:
        match = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", file.read_text(encoding="utf-8"))
    except OSError:
        return None
    return match and match[1]


def note(
    job: "Job[StepParams]",
    device: torch.device,
    dtype: torch.dtype,
    attention: str | None = None,
    compiled: bool = False,
) -> None:
    """Note in a step's log and record what it computes on; arguments as of `describe`."""
    note_device(job, describe(device, dtype, attention, compiled))
    if device.type == "cuda" and dtype == torch.bfloat16 != compute_dtype("auto", device):
        job.log.warning("precision: bfloat16 is emulated on this GPU, which is slow; take auto or float32")


def note_device(job: "Job[StepParams]", device: Device) -> None:
    """Note it, as another process may have described it."""
    job.log.info("computing on %s", device)
    job.uses(device)


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix products; `precision` is "auto" (the faster one), "bfloat16" or "float32"."""
    if precision != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[precision]
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    return compute_dtype(auto_precision(), device)


def cache_dtype(precision: str) -> torch.dtype:
    """The dtype of the KV cache: bfloat16 unless `precision` is "float32".

    Attention is memory-bound, so bfloat16 pays even where products are faster in float32.
    """
    return torch.float32 if precision == "float32" else torch.bfloat16


def total_memory(device: torch.device) -> int:
    """Bytes of memory of the device, used or free."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
