"""Names of artifacts and bytes of results are those of `tests/golden`; see its README."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from .conftest import ROOT, Workflow, environment

GOLDEN = ROOT / "tests/golden"
RECORD = os.environ.get("RECORD_GOLDEN") == "1"
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("config/*.yaml"), *ROOT.glob("tests/studies/*.yaml")]
    if path.name != "resources.yaml"
)
COMPARED = ("models", "data", "simulations", "tables", "metrics.parquet", "learning_curves.parquet", "chains.csv")


def add_what_users_have(folder: Path) -> None:
    """The files that configs name for their users to put there; what they hold is part of names."""
    (folder / "stories.txt").write_text("Once upon a time.\n<|endoftext|>\n" * 3000, encoding="utf-8")
    (folder / "conformers.sdf.gz").write_bytes(gzip.compress(b"", mtime=0))
    pretended = folder / "python"  # for the engine vllm, which samples nothing here
    pretended.write_text("#!/bin/sh\n", encoding="utf-8")
    pretended.chmod(0o755)


def names(config: str, folder: Path) -> str:
    """Rule and output of every job of a config, a line each."""
    add_what_users_have(folder)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    # The option that takes a list stands last.
    command += ["--cores", "1", "--summary", "--quiet", "--configfile", str(ROOT / config)]
    around = environment() | {"SELFLOOP_VLLM_PYTHON": str(folder / "python")}
    done = subprocess.run(command, cwd=ROOT, env=around, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    head, *rows = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    # The marks of what is shown change with the code that shows it.
    rows = [row for row in rows if not row[head.index("output_file")].startswith("results/study/")]
    columns = [head.index(name) for name in ("rule", "output_file")]
    return "".join(sorted("  ".join(row[column] for column in columns) + "\n" for row in rows))


@pytest.mark.parametrize("config", CONFIGS)
def test_every_artifact_has_the_name_that_it_always_had(config: str, tmp_path: Path) -> None:
    found = names(config, tmp_path)
    path = GOLDEN / "names" / f"{config.removesuffix('.yaml').replace('/', '-')}.txt"
    if RECORD:
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def processor() -> str:
    """The kind of this machine's processor, as far as it decides how sums are rounded."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    vendor = next(line.split(":")[1].strip() for line in info.splitlines() if line.startswith("vendor_id"))
    flags = next(line.split(":")[1].split() for line in info.splitlines() if line.startswith("flags"))
    special = [name for name in ("avx512_bf16", "amx_tile") if name in flags]
    return " ".join([vendor, torch.backends.cpu.get_cpu_capability(), *special])


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The small linear study, run once."""
    workflow = Workflow.fresh(tmp_path_factory.mktemp("golden") / "linear", "tests/studies/linear.yaml")
    workflow.snakemake()
    return workflow


@pytest.mark.parametrize("study", ["tiny", "linear"])
def test_small_studies_have_the_bytes_that_they_always_had(study: str, request: pytest.FixtureRequest) -> None:
    """Bytes on the kinds of processor that are recorded, and close values on every kind."""
    workflow: Workflow = request.getfixturevalue("finished" if study == "tiny" else study)
    digests = workflow.results(*(name for name in COMPARED if (workflow.folder / "results" / name).is_dir()))
    files = workflow.results()
    digests |= {name: files[name] for name in COMPARED if name in files}
    metrics = pd.read_parquet(workflow.folder / "results/metrics.parquet")
    first = metrics[(metrics["iteration"] == 1) & (metrics["split"] == "test") & metrics["part"].isna()]
    close = first.groupby(["experiment", "metric"])["value"].mean()
    values = {f"{experiment} {metric}": float(value) for (experiment, metric), value in close.items()}

    path = GOLDEN / "bytes" / f"{study}.json"
    if RECORD:
        path.parent.mkdir(exist_ok=True)
        held = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"digests": {}}
        held = {"digests": held["digests"] | {processor(): dict(sorted(digests.items()))}, "values": values}
        path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")
    golden = json.loads(path.read_text(encoding="utf-8"))
    assert values == pytest.approx(golden["values"], rel=0.02)
    if processor() in golden["digests"]:
        assert digests == golden["digests"][processor()]
