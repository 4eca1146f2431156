"""Coverage and matching by a symmetry-aware RMSD, and what counts as broken."""

from dataclasses import replace

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from selfloop.domains.molecule.data.chemistry import mol_of
from selfloop.domains.molecule.data.conformations import Conformation, Conformations
from selfloop.domains.molecule.metrics import coverage_and_matching, quality, rmsd_table


def turned(points: np.ndarray) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    return (points @ (q * np.sign(np.linalg.det(q))).T + 5.0).astype(np.float32)


def test_a_conformation_moved_and_turned_is_the_same(molecules: Conformations) -> None:
    one, other = molecules[4], molecules[5]
    table = rmsd_table(one, [one.coordinates, other.coordinates], [turned(one.coordinates)])
    assert table.shape == (2, 1)
    assert table[0, 0] < 1e-4 < 0.1 < table[1, 0]


def test_so_is_one_whose_equivalent_atoms_have_changed_places(molecules: Conformations) -> None:
    """Benzamide's ring, turned over: rows of atoms 2 and 6, 3 and 5 exchanged."""
    ring = molecules[2]
    mol = mol_of(ring)
    matches = mol.GetSubstructMatches(mol, uniquify=False, maxMatches=100)
    carbons = [place for place in range(len(ring.atomic_numbers)) if ring.atomic_numbers[place] == 6]
    order = next(match for match in matches if any(match[c] != c for c in carbons))
    swapped = ring.coordinates[list(order)]
    naive = rdMolAlign.AlignMol(mol_of(ring, swapped), mol_of(ring))
    assert naive > 0.1
    assert rmsd_table(ring, [ring.coordinates], [swapped])[0, 0] < 1e-3


def test_hydrogens_do_not_count(molecules: Conformations) -> None:
    row = molecules[0]
    moved = row.coordinates + (row.atomic_numbers == 1)[:, None].astype(np.float32)
    assert rmsd_table(row, [row.coordinates], [moved])[0, 0] < 1e-4


def test_coverage_and_matching_by_hand() -> None:
    """Two molecules: rows are real conformations, columns samples."""
    tables = [np.array([[0.4, 2.0], [1.0, 3.0]]), np.array([[1.5, 1.3]])]
    found = coverage_and_matching(tables)
    assert found["mat_r"] == pytest.approx(np.mean([np.mean([0.4, 1.0]), 1.3]))
    assert found["mat_p"] == pytest.approx(np.mean([np.mean([0.4, 2.0]), np.mean([1.5, 1.3])]))
    assert (found["cov_r_0.5"], found["cov_r_1.25"]) == (0.25, 0.5)
    assert (found["cov_p_0.5"], found["cov_p_1.25"]) == (0.25, 0.25)


def test_real_conformations_have_no_fault(molecules: Conformations) -> None:
    rows = [(molecules[row], molecules[row], molecules.graph(row)) for row in range(len(molecules))]
    assert quality(rows) == {"bond_error": 0.0, "broken_bonds": 0.0, "clashes": 0.0}


def test_a_stretched_bond_is_broken_and_a_folded_molecule_clashes(molecules: Conformations) -> None:
    row = molecules[4]
    stretched = replace(row, coordinates=row.coordinates * np.float32(1.3))
    folded = replace(row, coordinates=row.coordinates * np.array([1, 0.2, 0.2], dtype=np.float32))
    graph = molecules.graph(4)
    assert quality([(stretched, row, graph)])["broken_bonds"] == 1
    assert quality([(stretched, row, graph)])["clashes"] == 0
    assert quality([(folded, row, graph), (row, row, graph)])["clashes"] == 0.5


def test_a_molecule_with_very_many_symmetries_is_done_in_time() -> None:
    """Hexa-tert-butylbenzene's heavy atoms alone can be laid on themselves in 12 · 6⁶ = 559,872 ways."""
    smiles = "c1(C(C)(C)C)c(C(C)(C)C)c(C(C)(C)C)c(C(C)(C)C)c(C(C)(C)C)c1C(C)(C)C"
    heavy = Chem.MolFromSmiles(smiles)
    atoms = heavy.GetNumAtoms()
    points = np.random.default_rng(0).normal(size=(atoms, 3)).astype(np.float32)
    numbers = np.array([atom.GetAtomicNum() for atom in heavy.GetAtoms()])
    row = Conformation("crowded", smiles, numbers, np.zeros((0, 3), dtype=np.int64), points)
    assert rmsd_table(row, [points], [points])[0, 0] < 1e-4
