"""Where vLLM is installed, found while the study is planned and without importing it.

vLLM pins dozens of packages, some of them other versions than ours, so it has an environment of its own (see
envs/vllm-cpu.txt and envs/vllm-gpu.txt), and its interpreter runs nothing but the sampling itself.
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
ENVIRONMENTS = (".venv-vllm-gpu", ".venv-vllm-cpu")  # where the Makefile puts it

_SAYS_WHETHER = "import importlib.util, sys; sys.exit(importlib.util.find_spec('vllm') is None)"


def find_vllm() -> Path:
    """The interpreter that has vLLM: the one that SELFLOOP_VLLM_PYTHON names, or else the first of our own
    environments and this very interpreter that does.

    Raises:
        UserError: there is none; says where it was looked for and how to get one.
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
    places = [root / name / "bin" / "python" for name in ENVIRONMENTS]
    for python in places:
        if python.is_file() and _has_vllm(python):
            return python
    if importlib.util.find_spec("vllm") is not None:
        return Path(sys.executable)
    looked = ", ".join([*(str(place.parent.parent) for place in places), sys.prefix])
    raise UserError(f"vLLM is not installed (looked in {looked}). {install}")


def _has_vllm(python: Path) -> bool:
    """Whether an interpreter finds vLLM. Its environment alone counts, not ours."""
    # -P: a folder called vllm in the working folder does not count, either.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return (
        subprocess.run([python, "-P", "-c", _SAYS_WHETHER], env=clean, capture_output=True, check=False).returncode == 0
    )
