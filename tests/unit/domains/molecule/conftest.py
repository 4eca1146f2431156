"""Small molecules with conformers, made by rdkit once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from selfloop.domains.molecule.config import Data
from selfloop.domains.molecule.data.chemistry import conformations_of
from selfloop.domains.molecule.data.conformations import Conformations, read_conformations, write_conformations

SMILES = ("CCO", "c1ccccc1C(=O)N", "CC(C)CC(=O)OCCc1ccncc1", "C[C@H](N)C(=O)O", "ClCCBr")


def embedded(smiles: str, conformers: int = 2, seed: int = 7) -> Chem.Mol:
    """A molecule with hydrogens and conformers."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMultipleConfs(mol, conformers, randomSeed=seed)
    return mol


@pytest.fixture(scope="session")
def mol() -> Callable[..., Chem.Mol]:
    """Makes a molecule with conformers from a SMILES."""
    return embedded


@pytest.fixture(scope="session")
def molecules(tmp_path_factory: pytest.TempPathFactory) -> Conformations:
    """Five molecules of 9 to 33 atoms, two conformers of each."""
    folder = tmp_path_factory.mktemp("molecules") / "real"
    rows = [each for smiles in SMILES for each in conformations_of(embedded(smiles), smiles)]
    write_conformations(rows, folder)
    return read_conformations(folder)


@pytest.fixture
def data() -> Callable[..., Data]:
    """Makes a `data` section of SDF files, with some keys changed."""

    def section(**keys: Any) -> Data:
        return Data.model_validate({"source": "sdf", "train": "unset.sdf", "test_fraction": 0.25, **keys})

    return section


def write_entries(path: Path, *mols: Chem.Mol | str, names: list[str] | None = None) -> Path:
    """An SDF file: a molecule's conformers, each an entry; texts as they are."""
    blocks = []
    for place, each in enumerate(mols):
        if isinstance(each, str):
            blocks.append(each)
        else:
            each.SetProp("_Name", names[place] if names else f"molecule {place}")
            blocks += [Chem.MolToMolBlock(each, confId=conformer.GetId()) for conformer in each.GetConformers()]
    path.write_text("".join(f"{block}$$$$\n" for block in blocks), encoding="utf-8")
    return path
