"""Conformations on disk and in memory: one per row, with explicit hydrogens.

Columns of real and sampled data sets:

    name            the molecule's name in its source
    smiles          canonical SMILES with explicit hydrogens; its k-th atom is the k-th of the lists below
    atomic_numbers  [atoms]
    bonds           [bonds], each (atom, atom, type): atom indices from 0, the lower first; rdkit's bond types
                    (1 single, 2 double, 3 triple, 12 aromatic)
    coordinates     [atoms], each (x, y, z) in Å, float32
    iteration, part, row   which model sampled the row (0: real), which of its parts, and the index therein
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
    """One row: a molecule and the coordinates of its atoms.

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
    """Write a data set atomically; returns its number of rows.

    Args:
        conformations: the rows, in order.
        folder: of the data set.
        iteration: of the model that sampled them; 0 for real ones.
        part: which of that model's parts.
        rows: the column `row`; 0, 1, … if empty.

    Raises:
        UserError: a coordinate is not finite.
    """
    with atomic_folder(folder) as scratch:
        return write_shards(conformations, scratch, iteration, part, rows)


def write_shards(
    conformations: Iterable[Conformation], folder: Path, iteration: int = 0, part: int = 0, rows: Iterable[int] = ()
) -> int:
    """The same into an existing folder, not atomically."""
    numbers = iter(rows or ())
    count = 0
    with ShardWriter(folder, SCHEMA) as writer:
        for count, conformation in enumerate(conformations, start=1):
            if not np.isfinite(conformation.coordinates).all():
                raise UserError(f"{folder}: a coordinate is not finite; such data are not written.")
            writer.append(
                {
                    "name": conformation.name,
                    "smiles": conformation.smiles,
                    "atomic_numbers": conformation.atomic_numbers.tolist(),
                    "bonds": conformation.bonds.tolist(),
                    "coordinates": conformation.coordinates.tolist(),
                    "iteration": iteration,
                    "part": part,
                    "row": next(numbers, count - 1),
                }
            )
    return count


def read_conformations(folder: Path) -> "Conformations":
    """A whole data set.

    Raises:
        UserError: it is empty, or a row is invalid (see `Conformations.of`).
    """
    return Conformations.of(iterate_rows(shard_paths(folder), COLUMNS), str(folder))


class Conformations:
    """Many conformations in flat arrays; the graph of every distinct molecule is built once.

    Attributes:
        names, smiles: of each conformation.
        atomic_numbers: [atoms of all].
        coordinates: [atoms of all, 3], Å.
        bounds: [conformations + 1]; conformation k has atoms bounds[k]:bounds[k + 1].
        bonds: of each distinct molecule, [bonds, 3].
        molecule: [conformations], index of each one's molecule in `bonds`.
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
    def of(cls, batches: Iterable[pa.RecordBatch], where: str) -> "Conformations":
        """Concatenate record batches with this module's columns.

        Raises:
            UserError: no row, or one whose numbers of atoms and coordinates differ, with a bond to a missing atom or a
                non-finite coordinate; the message begins with `where`.
        """
        names: list[str] = []
        smiles: list[str] = []
        numbers, coordinates, sizes, molecule = [], [], [], []
        bonds: list[Ints] = []
        known: dict[tuple[bytes, bytes], int] = {}
        for batch in batches:
            names += batch.column("name").to_pylist()
            smiles += batch.column("smiles").to_pylist()
            batch_numbers, batch_sizes = _lists(batch.column("atomic_numbers"))
            triples, bond_sizes = _lists(batch.column("bonds"))
            points, point_sizes = _lists(batch.column("coordinates"))
            if not np.array_equal(batch_sizes, point_sizes):
                row = int(np.flatnonzero(batch_sizes != point_sizes)[0])
                raise UserError(
                    f"{where}: a row of {names[len(names) - batch.num_rows + row]} has {batch_sizes[row]} atoms and "
                    f"{point_sizes[row]} coordinates."
                )
            numbers.append(batch_numbers.astype(np.int64))
            coordinates.append(points.reshape(-1, 3).astype(np.float32))
            sizes.append(batch_sizes)
            atom_ends, bond_ends = np.cumsum(batch_sizes), np.cumsum(bond_sizes)
            triples = triples.reshape(-1, 3).astype(np.int64)
            for atoms, atom_end, count, bond_end in zip(batch_sizes, atom_ends, bond_sizes, bond_ends, strict=True):
                table = triples[bond_end - count : bond_end]
                key = (batch_numbers[atom_end - atoms : atom_end].tobytes(), table.tobytes())
                if key not in known:
                    if atoms < 2 or count == 0 or table[:, :2].min() < 0 or table[:, :2].max() >= atoms:
                        raise UserError(f"{where} holds a row of {atoms} atoms whose bonds do not fit them.")
                    known[key] = len(bonds)
                    bonds.append(table)
                molecule.append(known[key])
        if not names:
            raise UserError(f"{where} has no rows.")
        all_coordinates = np.concatenate(coordinates)
        if not np.isfinite(all_coordinates).all():
            raise UserError(f"{where} holds coordinates that are not finite.")
        bounds = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
        return cls(names, smiles, np.concatenate(numbers), all_coordinates, bounds, bonds, np.array(molecule))


def _lists(column: "pa.ListArray[Any]") -> tuple[npt.NDArray[Any], Ints]:
    """Innermost values of a list column, and the list lengths."""
    sizes = column.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    values = column.flatten()
    while pa.types.is_nested(values.type):
        values = values.flatten()
    return values.to_numpy(zero_copy_only=False), sizes
