"""Installs the pinned packages into the environment of the Python that runs this: .venv/bin/python envs/install.py cpu

`cpu` or `cuda` is the build of torch; an index with PyTorch's CPU builds may follow. pip's messages are shown, its
retries as one line; where pip fails, the last line says what to do.
"""

from __future__ import annotations  # so that an older Python comes to its message

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

ENVS = Path(__file__).parent
NEEDED = {"cpu": 2.0, "cuda": 5.0}  # GB at least
RETRY = re.compile(r"Retrying|connection broken|timed out")
NO_CPU_BUILD = re.compile(r"(Cannot install|No matching distribution found for) torch\b")
AGAIN = "and run the same command again; what is installed is kept."
# What to do, by what pip says; the first that fits.
ADVICE = (
    (
        r"No space left on device|quota exceeded",
        f"The disk is full. Make room (pip unpacks in TMPDIR, {{temporary}}), {AGAIN}",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError",
        f"The registry's certificate is not known here. Let PIP_CERT name the file of your certificates, {AGAIN}",
    ),
    (
        r"ProxyError|[Cc]annot connect to proxy",
        f"The proxy lets pip reach no registry. Correct https_proxy, or unset it where there is none, {AGAIN}",
    ),
    (
        r"Retrying|connection broken|timed out|ConnectionError|name resolution",
        "The package registry does not answer. Check the network; behind a proxy, set https_proxy; for a mirror, "
        f"PIP_INDEX_URL; {AGAIN}",
    ),
    (
        r"Failed (?:building wheel|to build)|command '\S+' failed|metadata-generation-failed",
        "A package has no build for Python {python}, and it cannot be compiled here. Take Python 3.11, 3.12 or 3.13: "
        "make run PYTHON=python3.13, after rm -r .venv.",
    ),
    (
        r"No matching distribution found for \S+|Could not find a version",
        "The package registry lacks a pinned version; it may be a mirror that is not up to date. Let PIP_INDEX_URL "
        f"name another, {AGAIN}",
    ),
)


def advice(said: str, temporary: str) -> str | None:
    """What to do about an installation that failed.

    Args:
        said: what pip said.
        temporary: the folder that it unpacks in.

    Returns:
        A sentence or two; None if pip's own words must do.
    """
    python = ".".join(map(str, sys.version_info[:2]))
    found = (text for pattern, text in ADVICE if re.search(pattern, said))
    text = next(found, None)
    return None if text is None else text.format(temporary=temporary, python=python)


def lacks_cpu_build(said: str) -> bool:
    """Whether the registry answers, and has no build of torch for CPUs."""
    return NO_CPU_BUILD.search(said) is not None and RETRY.search(said) is None


def pip(*arguments: str) -> str:
    """Run pip's install; what it says on stderr if it fails, and else nothing."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", *arguments]
    said: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8", errors="replace") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if RETRY.search(line) is None:
                print(line, end="", file=sys.stderr, flush=True)
            elif not any(map(RETRY.search, said)):
                print("The package registry does not answer; pip tries again ...", file=sys.stderr, flush=True)
            said.append(line)
    return "".join(said) or f"pip ended with {process.returncode}" if process.returncode else ""


def install(build: str, indexes: list[str]) -> str:
    """Install everything; what pip says if that fails."""
    wanted = ["-r", str(ENVS / "base.txt"), "-c"]
    extra = [word for index in indexes for word in ("--extra-index-url", index)]
    failed = pip(*extra, *wanted, str(ENVS / f"{build}.txt"))
    if build == "cpu" and lacks_cpu_build(failed):
        print(
            "pip finds no CPU build of torch. TORCH_INDEX names an index that has one; now taking the build for CUDA, "
            "which is some gigabytes larger and computes on CPUs as well.",
            flush=True,
        )
        failed = pip(*wanted, str(ENVS / "cuda.txt"))
    failed = failed or pip("--no-deps", "-r", str(ENVS / "data.txt"))
    return failed or pip("--no-deps", "--editable", str(ENVS.parent))


def main() -> None:
    """Install, or say why not.

    Raises:
        SystemExit: the Python is too old, a program is missing, the disk too full, or pip has failed; with what to do.
    """
    build, *indexes = sys.argv[1:] or ["cpu"]
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit(f"selfloop needs Python 3.11 or newer, and this is {sys.version.split()[0]}.")
    if build not in NEEDED:
        sys.exit(f"envs/install.py {build}: the build of torch is cpu or cuda.")
    if shutil.which("which") is None:
        sys.exit(
            "Snakemake's plugin for SLURM needs the program `which`, as from Debian's debianutils or Fedora's which."
        )
    free = shutil.disk_usage(sys.prefix).free / 1e9
    if free < NEEDED[build] and importlib.util.find_spec("torch") is None:
        sys.exit(
            f"The environment takes {NEEDED[build]:g} GB or more with torch for {build}, and {free:.1f} GB are free in "
            f"{sys.prefix}. Make room, and type the same command again."
        )
    failed = install(build, indexes)
    if failed:
        import tempfile

        sys.exit(advice(failed, tempfile.gettempdir()) or "pip failed; its messages are above.")


if __name__ == "__main__":
    main()
