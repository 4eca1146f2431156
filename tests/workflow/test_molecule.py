"""Molecules through the whole loop: which rows models learn from, and what lands in the tables."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from rdkit import Chem

from selfloop.domains.molecule.export_sdf import write_sdf

from .conftest import Workflow
from .damage import unnoticed

METRICS = {"mat_r", "mat_p", "cov_r_0.5", "cov_p_0.5", "cov_r_1.25", "cov_p_1.25"}
FAULTS = {"bond_error", "broken_bonds", "clashes", "nan_rate"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The molecule study, run once."""
    workflow = Workflow.fresh(tmp_path_factory.mktemp("molecule") / "tree", "tests/studies/molecule.yaml")
    workflow.first_run = workflow.snakemake()
    return workflow


def chains(finished: Workflow) -> list[dict[str, str]]:
    with (finished.folder / "results/chains.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_model_is_trained_once_and_iteration_1_is_shared(finished: Workflow) -> None:
    jobs = [job.split()[0] for job in finished.first_run.jobs]
    assert jobs.count("train") == 1 + 2
    assert jobs.count("prepare_data") == 1


def test_a_part_holds_a_conformation_of_the_same_molecule_for_each_real_one(finished: Workflow) -> None:
    (real,) = (finished.folder / "results/data").glob("*/documents/train")
    expected = pq.read_table(real)
    for row in chains(finished):
        for folder in row["part_folders"].split():
            part = pq.read_table(finished.folder / folder)
            assert part.num_rows == expected.num_rows
            for column in ("smiles", "atomic_numbers", "bonds"):
                assert part.column(column).to_pylist() == expected.column(column).to_pylist()
            points = np.concatenate(part.column("coordinates").to_pylist())
            assert np.isfinite(points).all()
            assert not np.allclose(points, np.concatenate(expected.column("coordinates").to_pylist()), atol=0.1)


def test_accumulate_learns_from_real_and_sampled_rows_replace_from_sampled_ones(finished: Workflow) -> None:
    for row in chains(finished):
        manifest = json.loads((finished.folder / row["model_folder"] / "training-set/manifest.json").read_text())
        expected = 24 if (row["regime"], row["iteration"]) == ("accumulate", "2") else 12
        assert manifest["rows"] == expected


def test_every_iteration_has_its_losses_and_its_coverage_and_matching(finished: Workflow) -> None:
    metrics = pd.read_parquet(finished.folder / "results/metrics.parquet")
    chains = metrics[metrics["iteration"] > 0].groupby(["regime", "iteration"])
    assert len(chains) == 4
    for _, group in chains:
        test = set(group[group["split"] == "test"]["metric"])
        assert test == {"loss_total", "loss_global", "loss_local"} | METRICS | FAULTS
        assert set(group[group["split"] == "synthetic"]["metric"]) == FAULTS


def test_a_plateau_watches_a_molecule_that_is_neither_trained_on_nor_tested(finished: Workflow) -> None:
    (documents,) = (finished.folder / "results/data").glob("*/documents")
    train, test, watched = (
        set(pq.read_table(documents / split).column("smiles").to_pylist()) for split in ("train", "test", "validation")
    )
    assert (len(train), len(test), len(watched)) == (6, 2, 1)
    assert train | test | watched == train ^ test ^ watched
    curves = pd.read_parquet(finished.folder / "results/learning_curves.parquet")
    evaluated = curves[(curves["metric"] == "loss_total") & curves["split"].isin(["test", "validation"])]
    for _, chain in evaluated.groupby(["regime", "iteration"]):
        by_split = {split: set(rows["step"]) for split, rows in chain.groupby("split")}
        assert by_split["validation"] == by_split["test"]


def test_samples_are_measured_beside_conformations_that_are_not_trained_on(finished: Workflow) -> None:
    profile = pd.read_parquet(finished.folder / "results/profile.parquet").set_index("measure")
    assert set(profile.loc["trained_reference", "value"]) == {0.0}
    torn = profile.loc["fallen_apart"]
    assert set(torn["value"]) == {1.0}  # by models of this size
    assert set(torn["real"]) == {0.0}
    page = (finished.folder / "results/report/index.html").read_text(encoding="utf-8")
    assert "are left out of all other measures: 100% in iteration 1" in page


def test_the_figures_are_drawn(finished: Workflow) -> None:
    names = {path.name for path in (finished.folder / "results/figures").glob("[!.]*")}
    assert {
        "molecule-losses.png",
        "molecule-conformers.png",
        "molecule-headline.png",
        "molecule-synthetic.png",
    } <= names


def test_the_same_study_gives_the_same_bytes(finished: Workflow, tmp_path: Path) -> None:
    again = Workflow.fresh(tmp_path / "again", "tests/studies/molecule.yaml")
    again.snakemake("results/metrics.parquet", cores=1)
    assert again.results("data", "models") == finished.results("data", "models")


def test_a_part_becomes_an_sdf_file(finished: Workflow, tmp_path: Path) -> None:
    part = chains(finished)[0]["part_folders"].split()[0]
    count = write_sdf(finished.folder / part, tmp_path / "part.sdf")
    mols = [mol for mol in Chem.SDMolSupplier(str(tmp_path / "part.sdf"), removeHs=False, sanitize=False)]
    table = pq.read_table(finished.folder / part)
    assert count == len(mols) == table.num_rows
    for mol, points, name, row in zip(
        mols, table.column("coordinates").to_pylist(), table.column("name").to_pylist(), range(count), strict=True
    ):
        assert np.allclose(mol.GetConformer().GetPositions(), points, atol=1e-3)
        assert (mol.GetProp("_Name"), mol.GetIntProp("row")) == (name, row)


def test_no_damage_to_an_artifact_goes_unnoticed(finished: Workflow, tmp_path: Path) -> None:
    folder = finished.copy(tmp_path / "copy").folder
    assert list(unnoticed(folder / "results")) == []
