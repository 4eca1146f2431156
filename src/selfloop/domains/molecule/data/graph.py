"""A molecule's pairs of atoms: the bond graph extended to order 3, and all other pairs, candidates of the radius graph.

Pairs are unordered (i < j): edge features are symmetric in the two atoms, so both directions would double the work for
the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from selfloop.training.transfer import to_device

ELEMENTS = 100  # atomic numbers are below it; 0 is no element
BOND_TYPES = 22  # rdkit's, counted from 0
ORDER = 3
REMOTE = 0  # type of all other pairs


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
    """Several molecules as one disconnected graph; no padding.

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


def build_batch(
    graphs: Sequence[MoleculeGraph], atomic_numbers: npt.NDArray[np.int64], device: torch.device | str = "cpu"
) -> Batch:
    """Batch graphs.

    Args:
        graphs: one per molecule.
        atomic_numbers: [atoms of all].
        device: of the batch.
    """
    sizes = np.array([graph.atoms for graph in graphs])
    offsets = np.cumsum(sizes) - sizes

    def joined(pairs: list[npt.NDArray[np.int16]]) -> Tensor:
        counts = [array.shape[1] for array in pairs]
        return to_device(np.concatenate(pairs, axis=1).astype(np.int64) + np.repeat(offsets, counts), device)

    types = np.concatenate([graph.types for graph in graphs]).astype(np.int64)
    return Batch(
        to_device(np.ascontiguousarray(atomic_numbers), device),
        to_device(np.repeat(np.arange(len(graphs)), sizes), device),
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


def keeps_far_pairs(device: torch.device) -> bool:
    """Whether pairs beyond the cutoff stay, without forces or messages: how many are near, only a GPU itself knows."""
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
        if keeps_far_pairs(positions.device):
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
