"""A molecule's pairs of atoms: the bond graph extended to order 3, and all other pairs, candidates of the radius graph.

Pairs are unordered (i < j): edge features are symmetric in the two atoms, so both directions would double the work for
the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from selfloop.training.transfer import to_device

ELEMENTS = 100  # atomic numbers are below it; 0 is no element
BOND_TYPES = 22  # rdkit's, counted from 0
ORDER = 3
REMOTE = 0  # type of all other pairs

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class MoleculeGraph:
    """One molecule's pairs.

    Attributes:
        atoms: number of atoms.
        local: [2, local], pairs at most `ORDER` bonds apart, sorted.
        types: [local], bond type, or `BOND_TYPES` + 1 and + 2 for pairs two and three bonds apart.
        remote: [2, remote], all other pairs.
    """

    atoms: int
    local: npt.NDArray[np.int16]
    types: npt.NDArray[np.int16]
    remote: npt.NDArray[np.int16]


def build_graph(atoms: int, bonds: npt.NDArray[np.int64]) -> MoleculeGraph:
    """The pairs of a molecule (Xu et al. 2022, section 5.1: bonds, and pairs two and three bonds apart).

    Args:
        atoms: how many.
        bonds: [bonds, 3], two atoms and a type of 1 to 21.
    """
    bonded = np.zeros((atoms, atoms), dtype=np.int64)
    bonded[bonds[:, 0], bonds[:, 1]] = bonds[:, 2]
    bonded += bonded.T
    step = (bonded > 0).astype(np.float32) + np.eye(atoms, dtype=np.float32)
    types, reached = bonded.copy(), step > 0
    for order in range(2, ORDER + 1):
        further = (reached.astype(np.float32) @ step) > 0
        types[further & ~reached] = BOND_TYPES + order - 1
        reached = further
    first, second = np.triu_indices(atoms, 1)
    kinds = types[first, second]
    pairs = np.stack([first, second]).astype(np.int16)
    return MoleculeGraph(atoms, pairs[:, kinds > 0], kinds[kinds > 0].astype(np.int16), pairs[:, kinds == 0])


class Batch(NamedTuple):
    """Several molecules as one disconnected graph.

    Where it is padded, further atoms follow, with the atomic number 0, in the first molecule; and further pairs, each
    of the first of these atoms with itself. They have no length and so no force: nothing else changes.

    Attributes:
        atomic_numbers: [atoms].
        molecule: [atoms], index of each atom's molecule in the batch.
        local: [2, local] pairs of atoms, within molecules.
        types: [local].
        remote: [2, remote].
        molecules: number of molecules.
    """

    atomic_numbers: Tensor
    molecule: Tensor
    local: Tensor
    types: Tensor
    remote: Tensor
    molecules: int


def padded_size(count: int) -> int:
    """At least `count`, and one of eight numbers per power of two: batches have few different sizes."""
    unit = 1 << max(0, count.bit_length() - 4)
    return -(-count // unit) * unit


def padded(array: npt.NDArray[Number], count: int, value: int = 0) -> npt.NDArray[Number]:
    """An array that ends, along its last axis, in `value`, so that it has `count` numbers there."""
    missing = np.full((*array.shape[:-1], count - array.shape[-1]), value, dtype=array.dtype)
    return np.concatenate([array, missing], axis=-1)


def build_batch(
    graphs: Sequence[MoleculeGraph],
    atomic_numbers: npt.NDArray[np.int64],
    device: torch.device | str = "cpu",
    pads: bool = False,
) -> Batch:
    """Batch graphs.

    Args:
        graphs: one per molecule.
        atomic_numbers: [atoms of all].
        device: of the batch.
        pads: whether it is padded to the sizes of `padded_size`.
    """
    sizes = np.array([graph.atoms for graph in graphs])
    offsets = np.cumsum(sizes) - sizes
    atoms = int(sizes.sum())

    def joined(pairs: list[npt.NDArray[np.int16]]) -> Tensor:
        counts = [array.shape[1] for array in pairs]
        numbers = np.concatenate(pairs, axis=1).astype(np.int64) + np.repeat(offsets, counts)
        return to_device(padded(numbers, padded_size(sum(counts)), atoms) if pads else numbers, device)

    types = np.concatenate([graph.types for graph in graphs]).astype(np.int64)
    molecule = np.repeat(np.arange(len(graphs)), sizes)
    if pads:
        atomic_numbers, molecule = (padded(each, padded_size(atoms + 1)) for each in (atomic_numbers, molecule))
        types = padded(types, padded_size(len(types)))
    return Batch(
        to_device(np.ascontiguousarray(atomic_numbers), device),
        to_device(molecule, device),
        joined([graph.local for graph in graphs]),
        to_device(types, device),
        joined([graph.remote for graph in graphs]),
        len(graphs),
    )


class Pairs(NamedTuple):
    """Edges of the molecular graph, local ones first.

    Attributes:
        first, second: [pairs], atoms.
        types: [pairs].
        lengths: [pairs], Å.
        units: [pairs, 3], unit vectors from the second atom to the first; zeros where they coincide, and of pairs
            beyond the cutoff if there are such.
        local: number of local ones.
    """

    first: Tensor
    second: Tensor
    types: Tensor
    lengths: Tensor
    units: Tensor
    local: int


def has_few_shapes(device: torch.device) -> bool:
    """Whether batches of training are padded, and pairs beyond the cutoff stay, without forces or messages.

    So on a GPU, which itself only knows how many are near, and where each shape is a CUDA graph.
    """
    return device.type == "cuda"


def pairs_within(batch: Batch, positions: Tensor, cutoff: float | None) -> Pairs:
    """The local pairs at any distance, and the radius graph: remote pairs within the cutoff.

    The original caps neighbours at 32 per atom, a default of its library that breaks the symmetry of the graph in
    larger molecules; here there is no cap.

    Args:
        batch: the molecules.
        positions: [atoms, 3], Å.
        cutoff: Å; None for the local pairs alone.
    """
    pairs, types = batch.local, batch.types
    differences = positions.index_select(0, batch.local[0]) - positions.index_select(0, batch.local[1])
    far = None
    if cutoff is not None:
        kept = batch.remote
        remote = positions.index_select(0, kept[0]) - positions.index_select(0, kept[1])
        within = remote.square().sum(dim=1) <= cutoff**2
        if has_few_shapes(positions.device):
            far = ~torch.cat([torch.ones_like(types, dtype=torch.bool), within])
        else:
            near = within.nonzero().squeeze(1)
            kept, remote = kept.index_select(1, near), remote.index_select(0, near)
        pairs = torch.cat([pairs, kept], dim=1)
        differences = torch.cat([differences, remote])
        types = torch.cat([types, types.new_full((kept.shape[1],), REMOTE)])
    lengths = torch.linalg.vector_norm(differences, dim=1)
    units = differences / lengths.clamp(min=1e-6).unsqueeze(1)
    if far is not None:
        units = units.masked_fill(far.unsqueeze(1), 0.0)
    return Pairs(pairs[0], pairs[1], types, lengths, units, batch.local.shape[1])
