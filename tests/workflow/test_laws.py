"""The domains with laws in a whole study: the loop, the simulation beside it, and what is shown of both."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file

from selfloop.operations.verify import verify
from selfloop.planning.rules import plan_study

from .test_linear import ROOT, jobs, snakemake
from .test_regimes import rows

STUDY: dict[str, Any] = yaml.safe_load((ROOT / "tests/studies/laws.yaml").read_text(encoding="utf-8"))
STUDY["figures"] = {"formats": ["svg"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("laws")
    snakemake(folder, STUDY)
    return folder


def test_all_that_was_announced_is_there_and_whole(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert jobs(snakemake(finished, STUDY, "--dry-run")) == {}
    monkeypatch.chdir(finished)
    assert verify(Path("results")) == 0


def test_simulated_means_lie_near_their_laws(finished: Path) -> None:
    with_law = {"gaussian": 6, "discrete": 6, "kde": 1}  # quantities under regimes and settings
    for domain, count in with_law.items():
        table = pd.read_csv(finished / f"results/tables/{domain}-laws.csv").dropna(subset=["expected"])
        assert len(table) == count * 5
        assert (table["z"].abs() <= 4).all()


def test_the_published_run_stands_beside_the_simulated_one(finished: Path) -> None:
    page = (finished / "results/report/index.html").read_text(encoding="utf-8")
    assert "n=2: 0.463" in page


def test_a_gaussian_is_the_weighted_mean_of_the_rows_that_its_manifest_names(finished: Path) -> None:
    models = [name for name, model in plan_study(STUDY).models.items() if model.experiment.name == "gaussian"]
    assert len(models) == 3
    for name in models:
        folder = finished / "results/models" / name
        named, weights = rows(folder / "training-set")
        mean = np.average(np.array(named.column("x").to_pylist()), axis=0, weights=weights)
        assert load_file(folder / "checkpoint/model.safetensors")["mean"] == pytest.approx(mean, abs=1e-12)
