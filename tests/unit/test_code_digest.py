"""What changes the digest of a step's code, what does not, and what a step's code is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from selfloop import code_digest as code
from selfloop.domains.protocol import FOLDER, domain_names
from selfloop.jobs.steps import STEPS as RULES
from selfloop.jobs.steps import step_module

MODULE = '''"""What it does."""

import math
from dataclasses import dataclass

WIDTH = 3


@dataclass
class Size:
    """A size."""

    width: int = WIDTH


def area(size, scale=1):
    # a comment
    total = size.width * scale
    return math.sqrt(total)
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package of the library's name, in which the digests are taken."""
    monkeypatch.setattr(code, "ROOT", tmp_path)
    folder = tmp_path / "selfloop"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    return folder


def digests(package: Path, *texts: str) -> list[str]:
    """The digest of `selfloop.step` with each text, each in a package of its own: a file is read once per process."""
    found = []
    for number, text in enumerate(texts):
        root = package.parent / str(number)
        (root / "selfloop").mkdir(parents=True)
        (root / "selfloop" / "__init__.py").write_text("")
        (root / "selfloop" / "step.py").write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(code, "ROOT", root)
            found.append(code.code_digest("selfloop.step"))
    return found


NEUTRAL = {
    "a comment": ("# a comment", "# another one"),
    "no comment": ("    # a comment\n", ""),
    "a module's docstring": ("What it does.", "What else it does."),
    "no docstring of a class": ('    """A size."""\n\n', ""),
    "a docstring of a function": ("scale=1):\n", 'scale=1):\n    """Its square root."""\n'),
    "layout": ("(size, scale=1)", "(\n    size,\n    scale=1,\n)"),
    "blank lines": ("WIDTH = 3\n", "\n\nWIDTH   =   3\n\n\n"),
    "hints of arguments": ("(size, scale=1):", "(size: Size, scale: int = 1) -> float:"),
    "a hint of a variable": ("    total = ", "    total: float = "),
    "a hint of a constant": ("WIDTH = 3", "WIDTH: int = 3"),
    "a hint without a value": ("    total = ", "    total: float\n    total = "),
    "another hint of a field": ("width: int", "width: float"),
    "an import of hints": ("import math\n", "import math\nfrom typing import Any\n"),
    "an import for the type checker": (
        "WIDTH = 3",
        "if TYPE_CHECKING:\n    from selfloop.nowhere import Thing\n\nWIDTH = 3",
    ),
}


@pytest.mark.parametrize("change", NEUTRAL)
def test_what_cannot_change_results_changes_no_digest(package: Path, change: str) -> None:
    changed = MODULE.replace(*NEUTRAL[change])
    assert changed != MODULE
    before, after = digests(package, MODULE, changed)
    assert before == after


SECTION = '''"""A section of the config."""

from typing import Annotated

from pydantic import Field

from selfloop.config.section import Section


class Training(Section):
    """How a model is trained."""

    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the training set."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Rows per step."""

    def steps(self, rows: int) -> float:
        return self.epochs * rows / self.batch_size
'''
DECLARED = {
    "a default": ("= 32", "= 64"),
    "a limit": ("ge=1", "ge=2"),
    "a description": ("Rows per step", "Documents per step"),
    "a new field": ("    batch_size", "    ridge: float = 0.0\n    batch_size"),
}


@pytest.mark.parametrize("change", DECLARED)
def test_what_a_section_of_the_config_declares_changes_no_digest(package: Path, change: str) -> None:
    """The values reach a step as its params, which Snakemake compares."""
    changed = SECTION.replace(*DECLARED[change])
    assert changed != SECTION
    before, after = digests(package, SECTION, changed)
    assert before == after


def test_what_a_section_of_the_config_computes_changes_the_digest(package: Path) -> None:
    before, after = digests(package, SECTION, SECTION.replace("rows /", "2 * rows /"))
    assert before != after


EFFECTIVE = {
    "a constant": ("WIDTH = 3", "WIDTH = 4"),
    "a default": ("scale=1", "scale=2"),
    "an operation": ("size.width * scale", "size.width + scale"),
    "an import": ("import math", "import cmath as math"),
    "a field's default": ("width: int = WIDTH", "width: int = 5"),
    "a field that is none": ("width: int = WIDTH", "width = WIDTH"),
    "a decorator": ("@dataclass\n", "@dataclass(frozen=True)\n"),
    "an order": ("(size, scale=1)", "(scale, size=1)"),
    "a text that is no docstring": ("    total = ", '    total = len("text") + '),
}


@pytest.mark.parametrize("change", EFFECTIVE)
def test_changed_code_changes_the_digest(package: Path, change: str) -> None:
    changed = MODULE.replace(*EFFECTIVE[change])
    assert changed != MODULE
    before, after = digests(package, MODULE, changed)
    assert before != after


def test_times_of_files_change_no_digest(package: Path) -> None:
    before, after = digests(package, MODULE, MODULE)
    assert before == after


def write(package: Path, **modules: str) -> None:
    for name, text in modules.items():
        path = package.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        if path.parent != package:
            (path.parent / "__init__.py").touch()
        path.write_text(text)


@pytest.mark.parametrize(
    "statement",
    [
        "import selfloop.tools",
        "from selfloop import tools",
        "from selfloop.tools import hammer",
        "from . import tools",
        "from .tools import hammer",
        "def run():\n    from selfloop.tools import hammer\n",
        "def run():\n    import selfloop.tools as t\n",
        "if True:\n    import selfloop.tools",
        "try:\n    import selfloop.tools\nexcept ImportError:\n    raise\n",
    ],
)
def test_imports_of_the_package_are_followed_wherever_they_stand(package: Path, statement: str) -> None:
    write(package, step=statement, tools="hammer = 1", other="")
    assert code.used_modules("selfloop.step") == {"selfloop", "selfloop.step", "selfloop.tools"}


def test_imports_are_followed_through_modules_and_folders_even_in_a_circle(package: Path) -> None:
    write(
        package,
        step="from selfloop.deep.one import x",
        deep__one="from ..two import y\nfrom .three import z",
        deep__three="import selfloop.step",
        two="import json, numpy",
        unused="",
    )
    expected = {
        "selfloop",
        "selfloop.step",
        "selfloop.deep",
        "selfloop.deep.one",
        "selfloop.deep.three",
        "selfloop.two",
    }
    assert code.used_modules("selfloop.step") == expected


def test_imports_for_the_type_checker_alone_are_not_followed(package: Path) -> None:
    write(package, step="if TYPE_CHECKING:\n    from selfloop import tools\n", tools="")
    assert code.used_modules("selfloop.step") == {"selfloop", "selfloop.step"}


def test_a_change_of_an_imported_module_changes_the_digest(package: Path) -> None:
    write(
        package,
        step="from selfloop.tools import x",
        tools="x = 1",
        other="from selfloop.tools2 import x",
        tools2="x = 2",
    )
    write(package, same="from selfloop.tools3 import x", tools3="x = 1")
    together = {code.code_digest(name) for name in ("selfloop.step", "selfloop.other", "selfloop.same")}
    assert len(together) == 3


def test_a_module_that_is_not_there_is_an_error(package: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"module selfloop\.nowhere has no file"):
        code.code_digest("selfloop.nowhere")


# --- what the steps of this workflow run ---------------------------------------------------------------------------

MODULES = {step_module(rule, domain) for domain in domain_names() for rule in RULES if rule != "write_report"}
MODULES |= {f"selfloop.{path.parent.name}.{path.stem}" for path in FOLDER.parent.glob("analysis/[pw]*_*.py")}
MODULES |= {
    f"selfloop.domains.{domain}.steps.{path.stem}"  # the domains' own analyses, too
    for domain in domain_names()
    for path in (FOLDER / domain / "steps").glob("[!_]*.py")
}


@pytest.mark.parametrize("step", sorted(filter(code.is_module, MODULES)))
def test_no_step_depends_on_how_a_study_is_planned_or_run(step: str) -> None:
    used = code.used_modules(step)
    apart = ["config", "planning", "session", "operations", "cli", "code_digest"]
    names = ("execution", "forkserver", "gpus", "launch", "locks", "logs", "record", "run", "spec")
    apart += [f"jobs.{name}" for name in names]
    # The folder, what all sections have in common, and what the sections `training` of several domains have.
    allowed = {f"selfloop.config{module}" for module in ("", ".section", ".training_length", ".filters")}
    assert not {name for name in used - allowed for package in apart if name.startswith(f"selfloop.{package}")}
    assert not {name for name in used if name.endswith(".domain")}


TEXT = "selfloop.domains.text"
LOOP = "selfloop.training.loop"
SAMPLER = f"{TEXT}.sampling.sampler"
KERNEL = f"{TEXT}.kernels.cpu.attention"


@pytest.mark.parametrize(
    ("step", "uses", "leaves"),
    [
        (f"{TEXT}.steps.train", [LOOP, f"{TEXT}.model.network", "selfloop.data.training_set"], [SAMPLER, KERNEL]),
        (
            f"{TEXT}.steps.generate",
            [SAMPLER, KERNEL, f"{TEXT}.model.network"],
            [
                LOOP,
                f"{TEXT}.steps.train",
                "selfloop.training.resume",
                "selfloop.data.training_set",
                f"{TEXT}.model.loss",
            ],
        ),
        (f"{TEXT}.steps.evaluate_model", [f"{TEXT}.model.loss"], [LOOP, SAMPLER, f"{TEXT}.metrics"]),
        (f"{TEXT}.steps.evaluate_part", [f"{TEXT}.metrics"], [LOOP, SAMPLER]),
        (
            f"{TEXT}.steps.prepare_data",
            [f"{TEXT}.data.sources", f"{TEXT}.data.files"],
            [f"{TEXT}.model.network", f"{TEXT}.data.tokenizer"],
        ),
        (f"{TEXT}.steps.tokenize", [f"{TEXT}.data.tokenizer"], [f"{TEXT}.model.network", f"{TEXT}.data.sources"]),
        ("selfloop.data.training_set", ["selfloop.data.shards"], [LOOP, f"{TEXT}.model.network"]),
        ("selfloop.analysis.plot_headline", ["selfloop.analysis.figures"], [LOOP, "selfloop.data.shards"]),
    ],
)
def test_a_step_depends_on_what_it_uses_and_on_nothing_else(step: str, uses: list[str], leaves: list[str]) -> None:
    used = code.used_modules(step)
    assert all(map(code.is_module, leaves))  # else nothing is tested
    assert used >= set(uses)
    assert used.isdisjoint(leaves)


def test_planning_a_study_imports_no_heavy_package() -> None:
    """The Snakefile is parsed again by every job."""
    root = Path(__file__).parents[2]
    program = (
        "import json, sys, yaml\n"
        "from selfloop.planning.rules import plan_study\n"
        "plan = plan_study(yaml.safe_load(open('config/config.yaml')))\n"
        "codes = {plan.sampled_code('train', model.domain) for model in plan.models.values()}\n"
        "print(json.dumps([len(plan.models), len(codes), sorted(sys.modules)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    models, codes, modules = json.loads(done.stdout)
    assert models > 10
    assert codes >= 1
    assert {"torch", "transformers", "datasets", "pandas", "pyarrow", "matplotlib"}.isdisjoint(modules)
