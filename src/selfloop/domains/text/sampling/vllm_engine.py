"""The engine `vllm`: vLLM in its own environment.

The step starts `vllm_worker` under vLLM's Python and exchanges prompts and documents as arrays in files. Snakemake
never sees vLLM's packages, and nothing is unpickled.
"""

import json
import os
import subprocess
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from selfloop.domains.text.sampling import vllm_worker
from selfloop.domains.text.sampling.engine import Request
from selfloop.domains.text.sampling.vllm_python import find_vllm
from selfloop.errors import UserError
from selfloop.jobs.device import Device
from selfloop.processes.group import PROMISED

LIBRARY = Path(__file__).resolve().parents[4]  # on the worker's path
LAST_LINES = 8  # of a failed worker's output, for the message


def sample(request: Request) -> Sequence[np.ndarray]:
    """A document per prompt, int32: prompt, sampled tokens, end-of-text if it ended within the maximum length.

    Raises:
        UserError: vLLM is not installed, cannot run this model, or ended with an error.
    """
    python = find_vllm()
    with tempfile.TemporaryDirectory(prefix="selfloop-vllm-") as name:
        folder = Path(name)
        np.save(folder / vllm_worker.PROMPTS, request.prompts, allow_pickle=False)
        task = {
            "checkpoint": str(merged(request.checkpoint, folder / "merged").resolve()),
            "sampling": request.sampling.plain,
            "streams": request.streams,
            "first_row": request.first_row,
            "precision": request.precision,
            "tokens": request.tokens,
            "end": request.end,
            "threads": request.threads,
            "promised": os.environ.get(PROMISED) if request.gpus else None,
            "parent": os.getpid(),
        }
        (folder / vllm_worker.TASK).write_text(json.dumps(task), encoding="utf-8")
        _run_worker(python, folder, request)
        tokens = np.load(folder / vllm_worker.TOKENS, allow_pickle=False)
        lengths = np.load(folder / vllm_worker.LENGTHS, allow_pickle=False)
    if len(lengths) != len(request.prompts) or lengths.sum() != len(tokens):
        raise RuntimeError(f"the vLLM worker returned {len(lengths)} documents for {len(request.prompts)} prompts")
    return np.split(tokens, np.cumsum(lengths)[:-1])


def merged(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint, or, of an adapter alone, a new folder with a model into which it is merged."""
    if not (checkpoint / "adapter_config.json").is_file():
        return checkpoint
    import torch

    from selfloop.domains.text.model.pretrained import KEY, read_network

    network, _ = read_network(checkpoint, torch.float32)
    held = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))[KEY]
    setattr(network.config, KEY, held)
    network.save_pretrained(folder)
    return folder


def _run_worker(python: Path, folder: Path, request: Request) -> None:
    command = [str(python), "-P", "-m", vllm_worker.__name__, str(folder)]
    request.log.info("vLLM runs under %s", python)
    tail: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=_environment(os.environ, python, request.threads),
        process_group=0,  # a stop signal for the whole group of processes reaches the step, which kills the worker
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                words = line.split()
                if words[:1] == [vllm_worker.PROGRESS]:
                    request.on_tokens(int(words[1]))
                elif words[:1] == [vllm_worker.DEVICE]:
                    request.uses(Device(**json.loads(line.partition(" ")[2])))
                elif words:
                    request.log.info("vLLM: %s", line.rstrip())
                    tail.append(line.rstrip())
        except BaseException:
            process.kill()
            raise
    if process.returncode == vllm_worker.REFUSED:
        raise UserError((folder / vllm_worker.PROBLEM).read_text(encoding="utf-8"))
    if process.returncode != 0:
        raise UserError(
            f"vLLM failed on {request.checkpoint} (exit code {process.returncode} of {python}); its last lines:\n"
            + "\n".join(tail)
        )


def _environment(environ: Mapping[str, str], python: Path, threads: int) -> dict[str, str]:
    """The worker's environment: only this library on its path, no network, a single process."""
    kept = {name: value for name, value in environ.items() if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"}
    # As vLLM recommends on CPUs: with Intel's OpenMP, idle threads do not spin on busy cores.
    openmp = python.parent.parent / "lib" / "libiomp5.so"
    preload = {"LD_PRELOAD": f"{openmp} {environ.get('LD_PRELOAD', '')}".strip()} if openmp.is_file() else {}
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
    return {
        **quiet,
        **kept,
        **preload,
        "PYTHONPATH": str(LIBRARY),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{python.parent}{os.pathsep}{environ.get('PATH', '')}",  # for tools of compilers such as ninja
        "OMP_NUM_THREADS": str(threads),
        "KMP_BLOCKTIME": "5",  # milliseconds an idle thread spins, as vLLM sets it for its own processes
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # concurrent steps would all bind to the first cores
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # a single process, which ends with the step
        # Built by nvcc when vLLM starts, and never used where requests have seeds.
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
    }
