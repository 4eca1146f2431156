"""Conformations on disk and in memory: one conformation per row, molecules with all their atoms, hydrogens too.

Columns, the same for real and for sampled rows:

    name            the molecule's name in its source
    smiles          canonical SMILES in which every hydrogen is an atom; its k-th atom is the k-th of the lists below
    atomic_numbers  [atoms]
    bonds           [bonds], each (atom, atom, type): atoms counted from 0, the first one lower; types as rdkit counts
                    them (1 single, 2 double, 3 triple, 12 aromatic)
    coordinates     [atoms], each (x, y, z) in Å, float32
    iteration, part, row   which model sampled the row (0: real), which of its parts, and its place
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selfloop.data.atomic import atomic_folder
from selfloop.data.shards import ShardWriter, iterate_rows, shard_paths
from selfloop.domains.molecule.data.graph import MoleculeGraph, build_graph
from selfloop.errors import UserError

SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("smiles", pa.string()),
        ("atomic_numbers", pa.list_(pa.int16())),
        ("bonds", pa.list_(pa.list_(pa.int16(), 3))),
        ("coordinates", pa.list_(pa.list_(pa.float32(), 3))),
        ("iteration", pa.int16()),
        ("part", pa.int16()),
        ("row", pa.int64()),
    ]
)
COLUMNS = ("name", "smiles", "atomic_numbers", "bonds", "coordinates")

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Conformation:
    """One row: a molecule, and where its atoms are.

    Attributes:
        name, smiles: as in the columns.
        atomic_numbers: [atoms].
        bonds: [bonds, 3].
        coordinates: [atoms, 3], Å.
    """

    name: str
    smiles: str
    atomic_numbers: Ints
    bonds: Ints
    coordinates: Floats


def write_conformations(
    conformations: Iterable[Conformation], folder: Path, iteration: int = 0, part: int = 0, rows: Iterable[int] = ()
) -> int:
    """Write a data set, which appears whole or not at all; returns its rows.

    Args:
        conformations: its rows in their order.
        folder: where it goes.
        iteration: of the model that sampled them; 0 for real ones.
        part: which of that model's parts.
        rows: the column `row`; places counted from 0 if empty.

    Raises:
        UserError: a coordinate is not finite.
    """
    numbers = iter(rows or ())
    count = 0
    with atomic_folder(folder) as scratch, ShardWriter(scratch, SCHEMA) as writer:
        for count, each in enumerate(conformations, start=1):
            if not np.isfinite(each.coordinates).all():
                raise UserError(
                    f"{folder} would hold coordinates that are not finite; they cannot become training data."
                )
            writer.append(
                {
                    "name": each.name,
                    "smiles": each.smiles,
                    "atomic_numbers": each.atomic_numbers.tolist(),
                    "bonds": each.bonds.tolist(),
                    "coordinates": each.coordinates.tolist(),
                    "iteration": iteration,
                    "part": part,
                    "row": next(numbers, count - 1),
                }
            )
    return count


def read_conformations(folder: Path) -> "Conformations":
    """A whole data set.

    Raises:
        UserError: it has no rows, or a row is not a conformation (see `Conformations.of`).
    """
    return Conformations.of(iterate_rows(shard_paths(folder), COLUMNS), str(folder))


class Conformations:
    """Many conformations in flat arrays, the graph of every distinct molecule built once.

    Attributes:
        names, smiles: of each conformation.
        atomic_numbers: [atoms of all].
        coordinates: [atoms of all, 3], Å.
        bounds: [conformations + 1]; conformation k has the atoms bounds[k] to bounds[k + 1].
        bonds: of each distinct molecule, [bonds, 3].
        molecule: [conformations], the place of each one's molecule in `bonds`.
    """

    def __init__(
        self,
        names: Sequence[str],
        smiles: Sequence[str],
        atomic_numbers: Ints,
        coordinates: Floats,
        bounds: Ints,
        bonds: Sequence[Ints],
        molecule: Ints,
    ) -> None:
        self.names, self.smiles = names, smiles
        self.atomic_numbers, self.coordinates, self.bounds = atomic_numbers, coordinates, bounds
        self.bonds, self.molecule = bonds, molecule

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> Conformation:
        atoms = slice(self.bounds[row], self.bounds[row + 1])
        molecule = int(self.molecule[row])
        return Conformation(
            self.names[row], self.smiles[row], self.atomic_numbers[atoms], self.bonds[molecule], self.coordinates[atoms]
        )

    @cached_property
    def graphs(self) -> list[MoleculeGraph]:
        """The graph of every distinct molecule, in the order of `bonds`."""
        first = np.unique(self.molecule, return_index=True)[1]
        sizes = np.diff(self.bounds)[first]
        return [build_graph(int(atoms), bonds) for atoms, bonds in zip(sizes, self.bonds, strict=True)]

    def graph(self, row: int) -> MoleculeGraph:
        """The graph of a conformation's molecule."""
        return self.graphs[int(self.molecule[row])]

    @classmethod
    def of(cls, batches: Iterable[pa.RecordBatch], place: str) -> "Conformations":
        """Gather record batches that have this module's columns.

        Raises:
            UserError: there is no row, or one has other numbers of atoms and coordinates, a bond to an atom that is not
                there, or a coordinate that is not finite; the message begins with `place`.
        """
        names: list[str] = []
        smiles: list[str] = []
        numbers, coordinates, sizes, molecule = [], [], [], []
        bonds: list[Ints] = []
        known: dict[tuple[bytes, bytes], int] = {}
        for batch in batches:
            names += batch.column("name").to_pylist()
            smiles += batch.column("smiles").to_pylist()
            own_numbers, own_sizes = _lists(batch.column("atomic_numbers"))
            triples, bond_sizes = _lists(batch.column("bonds"))
            points, point_sizes = _lists(batch.column("coordinates"))
            if not np.array_equal(own_sizes, point_sizes):
                row = int(np.flatnonzero(own_sizes != point_sizes)[0])
                raise UserError(
                    f"{place}: a row of {names[len(names) - batch.num_rows + row]} has {own_sizes[row]} atoms and "
                    f"{point_sizes[row]} coordinates."
                )
            numbers.append(own_numbers.astype(np.int64))
            coordinates.append(points.reshape(-1, 3).astype(np.float32))
            sizes.append(own_sizes)
            atom_ends, bond_ends = np.cumsum(own_sizes), np.cumsum(bond_sizes)
            triples = triples.reshape(-1, 3).astype(np.int64)
            for atoms, atom_end, count, bond_end in zip(own_sizes, atom_ends, bond_sizes, bond_ends, strict=True):
                own = triples[bond_end - count : bond_end]
                key = (own_numbers[atom_end - atoms : atom_end].tobytes(), own.tobytes())
                if key not in known:
                    if atoms < 2 or count == 0 or own[:, :2].min() < 0 or own[:, :2].max() >= atoms:
                        raise UserError(f"{place} holds a row of {atoms} atoms whose bonds do not fit them.")
                    known[key] = len(bonds)
                    bonds.append(own)
                molecule.append(known[key])
        if not names:
            raise UserError(f"{place} has no rows.")
        everything = np.concatenate(coordinates)
        if not np.isfinite(everything).all():
            raise UserError(f"{place} holds coordinates that are not finite; they cannot become training data.")
        bounds = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
        return cls(names, smiles, np.concatenate(numbers), everything, bounds, bonds, np.array(molecule))


def _lists(column: "pa.ListArray[Any]") -> tuple[npt.NDArray[Any], Ints]:
    """A list column's innermost values, and how many entries each row has."""
    sizes = column.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    values = column.flatten()
    while pa.types.is_nested(values.type):
        values = values.flatten()
    return values.to_numpy(zero_copy_only=False), sizes
