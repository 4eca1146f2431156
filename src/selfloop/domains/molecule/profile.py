"""Measures of the molecule domain's profile: sampled conformations beside as many real ones that are not trained on.

A part has a conformation for each real train conformation, and conformations of other molecules do not compare. So the
reference is of the same molecules: conformations that the source has besides those to train on. Samples of the test
molecules are measured by `evaluate_part`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from selfloop.domains.molecule.data.conformations import Conformation, Conformations, Floats, Ints
from selfloop.domains.molecule.data.graph import build_graph
from selfloop.domains.molecule.metrics import clash, coverage_and_matching, rmsd_table

MOST_MOLECULES = 200
ANGLE_BINS = 36  # of torsion angles, ten degrees each
SINGLE = 1  # bond type
APART = 2.0  # a sample has fallen apart if a bond is longer than this many real ones

Values = dict[str, float | Mapping[float, float]]
Biases = dict[int, tuple[float, int]]  # by type: the sum of length differences over bonds, and their number


@dataclass(frozen=True)
class Molecule:
    """Conformations of one molecule.

    Attributes:
        example: any of them.
        coordinates: of each, [atoms, 3].
    """

    example: Conformation
    coordinates: list[Floats]


Molecules = Mapping[str, Molecule]  # by SMILES


def grouped(rows: Conformations, names: Iterable[str] | None = None) -> dict[str, Molecule]:
    """The conformations of the molecules of these SMILES, or of the first molecules."""
    wanted = list(dict.fromkeys(rows.smiles))[:MOST_MOLECULES] if names is None else names
    found: dict[str, Molecule | None] = dict.fromkeys(wanted)
    for index, name in enumerate(rows.smiles):
        if name in found:
            molecule = found[name] or Molecule(rows[index], [])
            molecule.coordinates.append(rows[index].coordinates)
            found[name] = molecule
    return {name: molecule for name, molecule in found.items() if molecule is not None}


class Mirror:
    """Real conformations to compare samples with.

    Args:
        trained: the conformations that are trained on.
        held_out: by SMILES, as many others, of molecules that have them. The profile is of these molecules; if there
            are none, it is of all, beside the conformations that are trained on.
    """

    def __init__(self, trained: Molecules, held_out: Mapping[str, Sequence[Floats]]) -> None:
        own = {name: of for name, of in trained.items() if name in held_out}
        self.has_held_out = bool(own)
        self.trained = own or trained
        self.real = {name: replace(of, coordinates=list(held_out[name])) for name, of in own.items()} or trained
        self.lengths = {name: bond_lengths(of).mean(axis=0) for name, of in self.real.items()}

    @cached_property
    def itself(self) -> Values:
        """The same of real conformations: the nearest of a held-out one is one that is trained on, or another one."""
        if self.has_held_out:
            return {**self.measures(self.trained), **_alone(self.real)}
        tables = []
        for of in self.real.values():
            if len(of.coordinates) > 1:
                table = rmsd_table(of.example, of.coordinates, of.coordinates)
                tables.append((table + np.diag(np.full(len(table), np.inf))).min(axis=1)[:, None])
        biases = self.biases(self.real)
        return {**_alone(self.real), **_covered(tables, len(tables)), **_biased(biases), **self._marks(0.0)}

    def split(self, sampled: Molecules) -> tuple[dict[str, Molecule], dict[str, int]]:
        """The samples that have not fallen apart, and how many of each molecule have, if any."""
        whole, apart = dict[str, Molecule](), dict[str, int]()
        for name, of in sampled.items():
            right = (bond_lengths(of) <= APART * self.lengths[name]).all(axis=1)
            if kept := [points for points, ok in zip(of.coordinates, right, strict=True) if ok]:
                whole[name] = replace(of, coordinates=kept)
            if not right.all():
                apart[name] = int((~right).sum())
        return whole, apart

    def measures(self, sampled: Molecules) -> Values:
        """Of sampled conformations.

        Returns:
            fallen_apart: share of conformations with a bond over twice as long as the real one; they are in no other
            measure. pairwise_rmsd: mean over molecules of the mean RMSD of two conformations, Å; cov_r, mat_r: the
            share of real conformations within 0.5 Å of a sampled one, and the mean distance to the nearest, Å;
            torsion_entropy: of the angles about single bonds outside of rings, over all molecules, nats; bond_bias:
            mean of sampled less mean real bond lengths, Å; bond_bias_by_type: the same by the two elements and the bond
            type, as numbers that read 10,000·first + 100·second + type; clashes: share of conformations with two atoms
            too near; trained_reference: 1 if the real conformations are trained on, else 0.
        """
        whole, apart = self.split(sampled)
        tables = [rmsd_table(of.example, self.real[name].coordinates, of.coordinates) for name, of in whole.items()]
        count = sum(len(of.coordinates) for of in sampled.values())
        marks = self._marks(sum(apart.values()) / count if count else float("nan"))
        return {**_alone(whole), **_covered(tables, len(sampled)), **_biased(self.biases(whole)), **marks}

    def _marks(self, apart: float) -> Values:
        return {"fallen_apart": apart, "trained_reference": float(not self.has_held_out)}

    def biases(self, sampled: Molecules) -> Biases:
        """Sampled less mean real bond lengths by bond type, Å."""
        found: Biases = {}
        for name, of in sampled.items():
            bonds, numbers = of.example.bonds, of.example.atomic_numbers
            kinds = np.sort(numbers[bonds[:, :2]], axis=1) @ np.array([10_000, 100]) + bonds[:, 2]
            off = (bond_lengths(of) - self.lengths[name]).sum(axis=0)
            for kind, value in zip(kinds.tolist(), off.tolist(), strict=True):
                total, count = found.get(kind, (0.0, 0))
                found[kind] = total + value, count + len(of.coordinates)
        return found

    def carried(self, before: Molecules, after: Molecules) -> dict[str, float]:
        """How much of the bias of bond lengths at one iteration the next one has; see `carried`."""
        return carried(*(self.biases(self.split(each)[0]) for each in (before, after)))


def _alone(molecules: Molecules) -> Values:
    return {
        "pairwise_rmsd": pairwise(molecules),
        "torsion_entropy": torsion_entropy(molecules),
        "clashes": clashes(molecules),
    }


def _covered(tables: Sequence[np.ndarray], molecules: int) -> Values:
    """COV-R and MAT-R; of a molecule without a table, nothing is covered."""
    if not tables:
        return {"cov_r": 0.0 if molecules else float("nan"), "mat_r": float("nan")}
    found = coverage_and_matching(tables)
    return {"cov_r": found["cov_r_0.5"] * len(tables) / molecules, "mat_r": found["mat_r"]}


def _biased(biases: Biases) -> Values:
    by_type = {float(kind): total / count for kind, (total, count) in biases.items()}
    return {"bond_bias": _mean(biases), "bond_bias_by_type": by_type}


def pairwise(molecules: Molecules) -> float:
    """Mean over molecules of the mean RMSD of two of its conformations, Å; NaN where none has two."""
    found = []
    for of in molecules.values():
        count = len(of.coordinates)
        if count > 1:
            table = rmsd_table(of.example, of.coordinates, of.coordinates)
            found.append(table[np.triu_indices(count, 1)].mean())
    return float(np.mean(found)) if found else float("nan")


def clashes(molecules: Molecules) -> float:
    """Share of conformations with two atoms more than three bonds apart that are too near (`metrics.CLASH`)."""
    found = []
    for of in molecules.values():
        graph = build_graph(len(of.example.atomic_numbers), of.example.bonds)
        found += [clash(points, of.example.atomic_numbers, graph) for points in of.coordinates]
    return float(np.mean(found)) if found else float("nan")


def torsion_entropy(molecules: Molecules) -> float:
    """Entropy of the torsion angles of all molecules in bins of ten degrees, nats; NaN where there is no torsion."""
    angles = [angle for of in molecules.values() for points in of.coordinates for angle in _angles(of.example, points)]
    if not angles:
        return float("nan")
    counts = np.bincount(((np.array(angles) + np.pi) / (2 * np.pi) * ANGLE_BINS).astype(np.int64) % ANGLE_BINS)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _angles(molecule: Conformation, points: Floats) -> list[float]:
    """The torsion angle of the lowest neighbours of every single bond outside of rings, radians."""
    found = []
    for first, second, others in _rotatable(molecule.bonds, len(points)):
        a, b, c, d = (points[index].astype(np.float64) for index in (others[0], first, second, others[1]))
        axis = (c - b) / max(np.linalg.norm(c - b), 1e-9)
        left, right = (arm - (arm @ axis) * axis for arm in (a - b, d - c))
        found.append(float(np.arctan2(np.cross(axis, left) @ right, left @ right)))
    return found


def _rotatable(bonds: Ints, atoms: int) -> list[tuple[int, int, tuple[int, int]]]:
    """Single bonds that no ring holds and whose two atoms have other neighbours, the lowest of which come with them."""
    neighbours: list[list[int]] = [[] for _ in range(atoms)]
    for first, second, _ in bonds.tolist():
        neighbours[first].append(second)
        neighbours[second].append(first)
    found = []
    for first, second, kind in bonds.tolist():
        left, right = (sorted(set(neighbours[one]) - {other}) for one, other in ((first, second), (second, first)))
        if kind == SINGLE and left and right and not _connected(neighbours, first, second):
            found.append((first, second, (left[0], right[0])))
    return found


def _connected(neighbours: list[list[int]], first: int, second: int) -> bool:
    """Whether two bonded atoms are connected by other bonds as well: in a ring."""
    seen, waiting = {first}, [one for one in neighbours[first] if one != second]
    while waiting:
        atom = waiting.pop()
        if atom == second:
            return True
        if atom not in seen:
            seen.add(atom)
            waiting += [one for one in neighbours[atom] if one not in seen]
    return False


def bond_lengths(molecule: Molecule) -> np.ndarray:
    """Of every conformation, Å, [conformations, bonds]."""
    points, (first, second, _) = np.array(molecule.coordinates), molecule.example.bonds.T
    lengths: np.ndarray = np.linalg.norm(points[:, first] - points[:, second], axis=2).astype(np.float64)
    return lengths


def _mean(totals: Mapping[int, tuple[float, float]]) -> float:
    count = sum(many for _, many in totals.values())
    return float(sum(total for total, _ in totals.values()) / count) if count else float("nan")


def carried(before: Biases, after: Biases) -> dict[str, float]:
    """How much of the bias of bond lengths at one iteration the next one has.

    κ is the slope over bond types, weighted by their bonds, through 0. The noise of samples is part of their bias: the
    next model is trained on them.

    Returns:
        kappa; kappa_weight: the mean square of the earlier bias. NaN where there is none.
    """
    kinds = [kind for kind in before if kind in after]
    weights = np.array([before[kind][1] for kind in kinds])
    old, new = (np.array([of[kind][0] / of[kind][1] for kind in kinds]) for of in (before, after))
    across, earlier = (float(weights @ (each * old) / max(weights.sum(), 1)) for each in (new, old))
    return {"kappa": across / earlier if earlier > 0 else float("nan"), "kappa_weight": earlier}
