"""Whole workflows: Snakemake is run as a user runs it, in a copy of the working tree."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from selfloop.planning import paths
from selfloop.planning import study as studies
from selfloop.planning.check import check

ROOT = Path(__file__).parents[2]
PLUGINS = Path(__file__).parent / "plugins"
TREE = ("Snakefile", "src", "workflow", "config", "profiles", "slurm", "envs", "tests/studies")
# Modules that a user may have beside a study; none may be imported in place of the real one.
SHADOWS = (
    "datasets",
    "json",
    "matplotlib",
    "numpy",
    "pandas",
    "psutil",
    "pydantic",
    "random",
    "selfloop",
    "torch",
    "yaml",
)
SHADOWS += ("sitecustomize", "usercustomize")
DEADLINE = 300.0  # seconds; far more than anything here takes


def environment() -> dict[str, str]:
    """The environment of a user, with the logger plugin and without what a run around this one has left there."""
    mine = {key: value for key, value in os.environ.items() if not key.startswith(("SELFLOOP_", "SNAKEMAKE_"))}
    same = {"SELFLOOP_AUTO_PRECISION": os.environ["SELFLOOP_AUTO_PRECISION"]}  # as of the tests themselves
    return mine | same | {"PYTHONPATH": str(PLUGINS), "HF_HUB_OFFLINE": "1"}


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Poll until `condition` holds, and give its value."""
    deadline = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)
    return value


def wait_gone(processes: list[psutil.Process]) -> None:
    """Wait for the end of all processes."""
    wait_until(lambda: not any(map(alive, processes)), f"the end of {processes}")


def messages(output: str) -> list[str]:
    """What selfloop says in a run, but for what it says before all work: documents of these studies are cut."""
    lines = [line for line in output.splitlines() if "selfloop: " in line]
    return [
        line for line in lines if not re.search(r"selfloop: experiments\.\w+\.model\.context: documents are cut", line)
    ]


def alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that is dead and not yet buried does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Run:
    """What became of a `snakemake` command."""

    output: str
    jobs: list[str]  # "rule" or "rule label", see `Workflow.label`; without the rule `all`


class Workflow:
    """A copy of the working tree, and in it a study."""

    first_run: Run  # of a finished study

    def __init__(self, folder: Path, config: str) -> None:
        self.folder, self.config = folder, config
        self.variables: dict[str, str] = {}  # of the environment, besides a user's

    @classmethod
    def fresh(cls, folder: Path, config: str) -> "Workflow":
        """A copy of the repository as it is, without results."""
        for name in TREE:
            source, target = ROOT / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, target)
        for name in SHADOWS:
            (folder / f"{name}.py").write_text(f"raise RuntimeError('{name} of the study folder was imported')\n")
        return cls(folder, config)

    def copy(self, folder: Path) -> "Workflow":
        """A copy of everything, times included."""
        subprocess.run(["cp", "-a", self.folder, folder], check=True)
        return Workflow(folder, self.config)

    @property
    def study(self) -> dict[str, Any]:
        """The config, to be read."""
        read: dict[str, Any] = yaml.safe_load((self.folder / self.config).read_text(encoding="utf-8"))
        return read

    def change(self, edit: Callable[[dict[str, Any]], Any]) -> None:
        """Edit the config."""
        study = deepcopy(self.study)
        edit(study)
        (self.folder / self.config).write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")

    def start(self, *arguments: str, cores: int | None = 2) -> subprocess.Popen[str]:
        """Start Snakemake, with a process group of its own as in a terminal; `cores` None leaves them to a profile."""
        # The options that take lists stand first, since they would take targets, too.
        options = ["--logger", "jobs", "--configfile", self.config]
        options += [] if cores is None else ["--cores", str(cores)]
        self.noted.unlink(missing_ok=True)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "snakemake", *options, *arguments],
            cwd=self.folder,
            env=environment() | self.library | self.variables | {"JOBS": str(self.noted)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            process_group=0,
        )

    @property
    def library(self) -> dict[str, str]:
        """The variable by which Snakemake's plugins, which it imports before the Snakefile, are those of the copy."""
        return {"PYTHONPATH": os.pathsep.join([str(self.folder / "src"), str(PLUGINS)])}

    @property
    def noted(self) -> Path:
        """Where the logger plugin notes the jobs."""
        return self.folder / "jobs.jsonl"

    def snakemake(self, *arguments: str, cores: int = 2, code: int = 0) -> Run:
        """Run Snakemake to its end; it must end with this exit code."""
        process = self.start(*arguments, cores=cores)
        output, _ = process.communicate(timeout=DEADLINE)
        assert process.returncode == code, output
        lines = self.noted.read_text(encoding="utf-8").splitlines() if self.noted.exists() else []
        jobs = [json.loads(line) for line in lines]
        return Run(output, sorted(self.label(**job) for job in jobs if job["rule"] != "all"))

    def would_run(self, *arguments: str) -> set[str]:
        """The jobs that `snakemake --dry-run` announces."""
        jobs = self.snakemake("--dry-run", *arguments).jobs
        assert len(set(jobs)) == len(jobs)
        return set(jobs)

    def label(self, rule: str, wildcards: dict[str, str]) -> str:
        """A job in words: the digests in its wildcards as what the config says.

        For example "train tiny-1 seed0", of the first iteration, which all regimes share; "generate tiny-replace-2 t1
        seed0 part0".
        """
        if not {"model", "profile"} & wildcards.keys():
            return rule
        study = studies.build(check(self.study))
        if "profile" in wildcards:
            profile = study.profiles[wildcards["profile"]]
            return f"{rule} {profile.experiment.name} seed{profile.seed}"
        model = study.models[wildcards["model"]]
        chain = next(chain for chain in study.chains if model in chain.models)
        words = [rule, f"{model.experiment.name}-{model.iteration}"]
        if model.iteration > 1:
            words = [rule, f"{model.experiment.name}-{chain.regime}-{model.iteration}"]
            words.append(model.domain.sampling_slug(chain.sampling))
        words.append(f"seed{model.seed}")
        if "part" in wildcards:
            part = study.parts[wildcards["model"], wildcards["part"]]
            words.append(f"{model.domain.sampling_slug(part.sampling)}-part{part.index}")
        return " ".join(words)

    def model_folder(self, experiment: str, regime: str, iteration: int, seed: int = 0) -> str:
        """Where a model lies, relative to the working folder."""
        study = studies.build(check(self.study))
        chain = next(c for c in study.chains if (c.experiment.name, c.regime, c.seed) == (experiment, regime, seed))
        return paths.model(chain.models[iteration - 1].name)

    def results(self, *below: str) -> dict[str, str]:
        """Every file below `results` but those that hold times (logs, page, provenance): a digest, or a link's aim."""
        found = {}
        for top in below or ("",):
            for path in (self.folder / "results" / top).rglob("*"):
                name = str(path.relative_to(self.folder / "results"))
                if name in ("provenance.json", ".selfloop.lock"):  # times, and names of machines
                    continue
                if path.is_symlink():
                    found[name] = f"-> {path.readlink()}"
                elif path.is_file() and not name.startswith(("logs/", "report/")):
                    found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The tiny study, run once; tests that change it take a copy."""
    workflow = Workflow.fresh(tmp_path_factory.mktemp("finished") / "tiny", "tests/studies/tiny.yaml")
    workflow.first_run = workflow.snakemake()
    return workflow


@pytest.fixture
def copy(finished: Workflow, tmp_path: Path) -> Workflow:
    """A copy of the finished tiny study, to be changed."""
    return finished.copy(tmp_path / "copy")
