"""Locates vLLM's interpreter, while the study is planned and without importing vLLM.

vLLM pins dozens of packages, some in other versions than ours, so it has its own environment (envs/vllm-cpu.txt and
envs/vllm-gpu.txt), and its interpreter runs nothing but the sampling itself.
"""

import importlib.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from selfloop.errors import UserError

VARIABLE = "SELFLOOP_VLLM_PYTHON"  # the interpreter of an environment that holds vLLM
ROOT = Path(__file__).resolve().parents[5]  # the folder of the Snakefile
ENVIRONMENTS = (".venv-vllm-gpu", ".venv-vllm-cpu")  # as the Makefile creates them

_SAYS_WHETHER = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"


def find_vllm() -> Path:
    """The interpreter of SELFLOOP_VLLM_PYTHON, or else the first of our environments and this interpreter with vLLM.

    Raises:
        UserError: none has it; says where it was searched and how to install it.
    """
    return _find(os.environ.get(VARIABLE), ROOT)


@cache
def _find(named: str | None, root: Path) -> Path:
    install = f"Install it with 'make vllm-cpu' or 'make vllm-gpu', or set {VARIABLE} to a Python that has it."
    if named:
        python = Path(named).expanduser()
        if not python.is_file() or not os.access(python, os.X_OK):
            raise UserError(f"vLLM: {VARIABLE} is '{named}', which is not a program. {install}")
        if not _has_vllm(python):
            raise UserError(f"vLLM is not installed in the Python that {VARIABLE} names, '{named}'. {install}")
        return python
    candidates = [root / name / "bin" / "python" for name in ENVIRONMENTS]
    for python in candidates:
        if python.is_file() and _has_vllm(python):
            return python
    if importlib.util.find_spec("vllm") is not None:
        return Path(sys.executable)
    looked = ", ".join([*(str(python.parent.parent) for python in candidates), sys.prefix])
    raise UserError(f"vLLM is not installed (looked in {looked}). {install}")


def _has_vllm(python: Path) -> bool:
    """Whether an interpreter finds vLLM in its own environment."""
    # -P: ignore a folder called vllm in the working folder.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return (
        subprocess.run([python, "-P", "-c", _SAYS_WHETHER], env=clean, capture_output=True, check=False).returncode == 0
    )
