"""Conversion between rdkit's molecules and conformations. rdkit is imported lazily."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from selfloop.domains.molecule.data.conformations import Conformation, Floats, Ints
from selfloop.domains.molecule.data.graph import ELEMENTS
from selfloop.errors import UserError
from selfloop.inputs.files import Found

if TYPE_CHECKING:
    from rdkit.Chem import Mol

CLOSEST = 0.4  # Å between any two atoms; the shortest bond, of H2, has 0.74
TETRAHEDRAL = (5, 6, 7, 14, 15, 32)  # elements whose four neighbours are never in a plane with them
FLATTEST = 0.3  # six times the volume between the four directions: a tetrahedron has 3.1, rdkit's conformers over 0.8
# Bond lengths in sums of covalent radii; rdkit's conformers have 0.77 to 1.13, and 0.96 to 1.15 to hydrogen.
SHORTEST_BOND, LONGEST_BOND, LONGEST_TO_HYDROGEN = 0.5, 1.6, 1.35


class Rejected(Exception):
    """A molecule or conformer that cannot be used; the message is the reason."""


class LeftOut(Found):
    """Skipped molecules or conformers, counted by reason.

    Attributes:
        notes: what else a reader of the log should know.
    """

    def __init__(self) -> None:
        super().__init__()
        self.notes = Found()


def conformations_of(mol: "Mol", name: str) -> Iterator[Conformation]:
    """The conformers of a molecule, atoms renumbered to the order of its canonical SMILES.

    Args:
        mol: with explicit hydrogens and conformers.
        name: for the column of that name.

    Raises:
        Rejected: by `check`; no 3D coordinates, or non-finite or impossible ones.
    """
    from rdkit import Chem

    check(mol)
    if mol.GetNumConformers() == 0 or not any(conformer.Is3D() for conformer in mol.GetConformers()):
        raise Rejected("without 3D coordinates")
    smiles = Chem.MolToSmiles(mol)
    order = list(mol.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    index = np.argsort(order)
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)[order]
    bonds = [
        (*sorted((int(index[bond.GetBeginAtomIdx()]), int(index[bond.GetEndAtomIdx()]))), int(bond.GetBondType()))
        for bond in mol.GetBonds()
    ]
    table = np.array(sorted(bonds), dtype=np.int64)
    for conformer in mol.GetConformers():
        coordinates = conformer.GetPositions()[order].astype(np.float32)
        if not np.isfinite(coordinates).all():
            raise Rejected("with coordinates that are not finite")
        _check_geometry(numbers, table, coordinates)
        yield Conformation(name, smiles, numbers, table, coordinates)


def _check_geometry(numbers: Ints, bonds: Ints, coordinates: Floats) -> None:
    """Refuse coordinates that no molecule has: failed embeddings, drawings, other units; whatever they are tagged as.

    Args:
        numbers: atomic numbers [atoms].
        bonds: [bonds, 3].
        coordinates: [atoms, 3], Å.

    Raises:
        Rejected: atoms in one place, four neighbours of a tetrahedral atom in a plane with it, or impossible bonds.
    """
    from rdkit import Chem

    if cKDTree(coordinates).query_pairs(CLOSEST):
        raise Rejected("with atoms in one place")
    for atom in np.flatnonzero(np.isin(numbers, TETRAHEDRAL)):
        neighbours = np.concatenate([bonds[bonds[:, 0] == atom, 1], bonds[bonds[:, 1] == atom, 0]])
        if len(neighbours) == 4:
            arms = coordinates[neighbours] - coordinates[atom]
            arms = arms / np.linalg.norm(arms, axis=1, keepdims=True)
            if abs(np.linalg.det(arms[1:] - arms[0])) < FLATTEST:
                raise Rejected("with flat coordinates, as of a drawing")
    radius = Chem.GetPeriodicTable().GetRcovalent
    first, second = bonds[:, 0], bonds[:, 1]
    lengths = np.linalg.norm(coordinates[first] - coordinates[second], axis=1)
    usual = np.array(
        [radius(int(one)) + radius(int(two)) for one, two in zip(numbers[first], numbers[second], strict=True)]
    )
    longest = np.where((numbers[first] == 1) | (numbers[second] == 1), LONGEST_TO_HYDROGEN, LONGEST_BOND)
    if (lengths < SHORTEST_BOND * usual).any() or (lengths > longest * usual).any():
        raise Rejected("with bonds of impossible length")


def check(mol: "Mol") -> None:
    """Refuse a molecule that cannot be used, whatever its conformers.

    Raises:
        Rejected: a single atom, several fragments, an element outside the table, a bond of indefinite type, or implicit
            hydrogens.
    """
    from rdkit import Chem

    if mol.GetNumAtoms() < 2:
        raise Rejected("of less than two atoms")
    if len(Chem.GetMolFrags(mol)) > 1:
        raise Rejected("of disconnected fragments")
    outside = {atom.GetSymbol() for atom in mol.GetAtoms() if not 0 < atom.GetAtomicNum() < ELEMENTS}
    if outside:
        raise Rejected(f"with an element outside the table ({', '.join(sorted(outside))})")
    # Such as "any" and "single or double" in SDF queries. Type 0 means no bond in the graph.
    if any(int(bond.GetBondType()) == 0 for bond in mol.GetBonds()):
        raise Rejected("with a bond of no definite type")
    if any(atom.GetTotalNumHs() for atom in mol.GetAtoms()):  # implicit ones
        raise Rejected("with hydrogens missing")


def graph_of(smiles: str) -> str:
    """SMILES of the molecular graph that the network sees: elements and bonds only.

    Stereoisomers and isotopes share it. Charges follow from the bonds, since hydrogens are explicit.

    Args:
        smiles: of a conformation.
    """
    from rdkit import Chem

    parser = Chem.SmilesParserParams()
    parser.removeHs = False  # type: ignore[assignment]
    parser.sanitize = False  # type: ignore[assignment]
    mol = Chem.MolFromSmiles(smiles, parser)
    for atom in mol.GetAtoms():
        atom.SetFormalCharge(0)
        atom.SetNoImplicit(True)
        atom.SetIsotope(0)
    return Chem.MolToSmiles(mol, isomericSmiles=False)


def mol_of(conformation: Conformation, *coordinates: Floats) -> "Mol":
    """The rdkit molecule of a row, atoms in the row's order, with its own or the given coordinates as conformers.

    Raises:
        UserError: the SMILES is not that of the row's atoms.
    """
    from rdkit import Chem
    from rdkit.Geometry import Point3D

    parser = Chem.SmilesParserParams()
    parser.removeHs = False  # type: ignore[assignment]
    mol = Chem.MolFromSmiles(conformation.smiles, parser)
    numbers = [] if mol is None else [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    if mol is None or numbers != conformation.atomic_numbers.tolist():
        raise UserError(f"the SMILES {conformation.smiles} of {conformation.name} is not that of its atoms.")
    for points in coordinates or (conformation.coordinates,):
        conformer = Chem.Conformer(len(numbers))
        for atom, point in enumerate(points.tolist()):
            conformer.SetAtomPosition(atom, Point3D(*point))
        conformer.Set3D(True)
        mol.AddConformer(conformer, assignId=True)
    return mol
