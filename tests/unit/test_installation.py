"""What `envs/install.py` says where pip cannot install what is pinned."""

import os
import subprocess
import sys
from collections import namedtuple
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "envs/install.py"
SPEC = spec_from_file_location("install", FILE)
INSTALL = module_from_spec(SPEC)
SPEC.loader.exec_module(INSTALL)
RETRY = "WARNING: Retrying (Retry(total={}, connect=None)) after connection broken by '{}': /simple/torch/\n"
NONE = "ERROR: No matching distribution found for torch==2.13.0\n"


def installed(tmp_path: Path, pip: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installation, with a program in place of pip."""
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip/__init__.py").touch()
    (tmp_path / "pip/__main__.py").write_text(f"import sys\n{pip}\n")
    around = os.environ | {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    return subprocess.run([sys.executable, FILE, *arguments], env=around, capture_output=True, encoding="utf-8")


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n", "TMPDIR"),
        (RETRY.format(0, "ProxyError('Cannot connect to proxy.')") + NONE, "https_proxy"),
        (RETRY.format(0, "NewConnectionError('Network is unreachable')") + NONE, "PIP_INDEX_URL"),
        (RETRY.format(0, "SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))") + NONE, "PIP_CERT"),
        ("error: command 'gcc' failed: No such file or directory\n", "Take Python 3.11, 3.12 or 3.13"),
        ("ERROR: No matching distribution found for regex==2026.11.15\n", "lacks a pinned version"),
    ],
)
def test_where_pip_fails_the_last_line_says_what_to_do(tmp_path: Path, said: str, wanted: str) -> None:
    done = installed(tmp_path, f"sys.exit({said!r})", "cpu")
    assert done.returncode == 1
    assert wanted in done.stderr.splitlines()[-1]
    assert "CPU build" not in done.stdout


def test_a_registry_that_does_not_answer_is_said_in_one_line(tmp_path: Path) -> None:
    said = "".join(RETRY.format(count, "ReadTimeoutError()") for count in range(5))
    done = installed(tmp_path, f"sys.exit({said + NONE!r})", "cuda")
    assert done.stderr.count("does not answer; pip tries again") == 1
    assert "Retrying" not in done.stderr


@pytest.mark.parametrize(
    "said",
    [NONE, "ERROR: Cannot install torch==2.13.0 because these package versions have conflicting dependencies.\n"],
)
def test_without_a_cpu_build_of_torch_that_for_cuda_is_taken(tmp_path: Path, said: str) -> None:
    done = installed(tmp_path, f"if sys.argv[-1].endswith('cpu.txt'): sys.exit({said!r})", "cpu", "file:///none")
    assert done.returncode == 0
    assert "now taking the build for CUDA" in done.stdout


def test_a_disk_without_room_for_the_environment_is_said_before_anything_is_downloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(INSTALL.shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(5e8))
    monkeypatch.setattr(INSTALL.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(INSTALL.sys, "argv", ["install.py", "cpu"])
    with pytest.raises(SystemExit, match=r"takes 2 GB or more with torch for cpu, and 0\.5 GB are free"):
        INSTALL.main()


def test_a_python_that_is_too_old_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(INSTALL.sys, "version_info", (3, 10, 2))
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 or newer"):
        INSTALL.main()


def test_a_small_container_that_lacks_what_snakemake_needs_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(INSTALL.sys, "argv", ["install.py", "cpu"])
    monkeypatch.setenv("PATH", "/none")
    with pytest.raises(SystemExit, match="needs the program `which`"):
        INSTALL.main()
