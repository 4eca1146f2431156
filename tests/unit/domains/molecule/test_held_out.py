"""Conformations of train molecules that are not trained on: what every kind of source has besides."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfloop.domains.molecule.config import Data
from selfloop.domains.molecule.data.chemistry import LeftOut
from selfloop.domains.molecule.data.conformations import Floats, read_conformations, write_conformations
from selfloop.domains.molecule.data.held_out import held_out
from selfloop.domains.molecule.profile import grouped
from selfloop.domains.molecule.steps.prepare_data import conformations, splits

from .conftest import write_entries

Make = Callable[..., Any]
NAMES = [f"{'C' * n}O" for n in range(2, 8)]


@pytest.fixture
def sdf(tmp_path: Path, mol: Make) -> str:
    """Six molecules, four conformers of each but one of the last one."""
    entries = [mol(smiles, 1 if smiles == NAMES[-1] else 4) for smiles in NAMES]
    return str(write_entries(tmp_path / "alcohols.sdf", *entries, names=NAMES))


def trained(data: Data, folder: Path) -> dict[str, list[Floats]]:
    """What is trained on, as the step reads it."""
    train, *_ = splits(data, LeftOut())
    write_conformations(conformations(train), folder / "train")
    return {name: of.coordinates for name, of in grouped(read_conformations(folder / "train")).items()}


def check(own: dict[str, list[Floats]], found: dict[str, list[Floats]]) -> None:
    """As many others of each molecule."""
    for smiles, points in found.items():
        one, other = ({each.tobytes() for each in of} for of in (points, own[smiles]))
        assert len(points) == len(one) == len(other)
        assert not one & other


def test_rdkit_makes_more_of_them(tmp_path: Path) -> None:
    data = Data(source="rdkit", molecules=3, conformers=2, test_molecules=1, max_atoms=12)
    own = trained(data, tmp_path)
    found = held_out(data, own)
    assert set(found) == set(own)
    check(own, found)


@pytest.mark.parametrize(("conformers", "molecules"), [(1, 5), (2, 5), (3, 0), (4, 0)])
def test_files_have_later_entries_of_molecules_with_enough_of_them(
    conformers: int, molecules: int, sdf: str, data: Make, mol: Make, tmp_path: Path
) -> None:
    test = write_entries(tmp_path / "test.sdf", mol("ClCCBr"))
    settings = data(train=sdf, test=str(test), conformers=conformers)
    own = trained(settings, tmp_path)
    found = held_out(settings, own)
    assert (len(own), len(found)) == (6, molecules)
    check(own, found)


def test_what_is_thinned_out_is_held_out(sdf: str, data: Make, mol: Make, tmp_path: Path) -> None:
    test = write_entries(tmp_path / "test.sdf", mol("ClCCBr"))
    settings = data(train=sdf, test=str(test), rows=10)
    own = {smiles: points[:2] for smiles, points in trained(settings, tmp_path).items()}
    assert len(held_out(settings, own)) == 5


def test_nothing_is_read_where_all_are_trained_on(data: Make, tmp_path: Path) -> None:
    assert held_out(data(train=str(tmp_path / "not there.sdf")), {"CCO": []}) == {}
