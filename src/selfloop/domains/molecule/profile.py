"""Measures of the molecule domain's profile: sampled conformations beside real ones of the same molecules.

A part has a conformation for each real train conformation. Conformations of other molecules do not compare, so the
reference is not of the test molecules; `evaluate_part` measures how those are covered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfloop.domains.molecule.data.conformations import Conformation, Conformations, Floats, Ints
from selfloop.domains.molecule.data.graph import build_graph
from selfloop.domains.molecule.metrics import clash, coverage_and_matching, rmsd_table

MOST_MOLECULES = 200
ANGLE_BINS = 36  # of torsion angles, ten degrees each
SINGLE = 1  # bond type

Values = dict[str, float | Mapping[float, float]]


@dataclass(frozen=True)
class Molecule:
    """Conformations of one molecule.

    Attributes:
        example: any of them.
        coordinates: of each, [atoms, 3].
        places: the real rows that they stand for.
    """

    example: Conformation
    coordinates: list[Floats]
    places: list[int]


def grouped(rows: Conformations, places: Sequence[int]) -> dict[str, Molecule]:
    """The conformations of the first molecules, by SMILES."""
    found: dict[str, Molecule] = {}
    for index, place in enumerate(places):
        name = rows.smiles[index]
        if name not in found:
            if len(found) == MOST_MOLECULES:
                continue
            found[name] = Molecule(rows[index], [], [])
        found[name].coordinates.append(rows[index].coordinates)
        found[name].places.append(place)
    return found


def measures(sampled: Mapping[str, Molecule], real: Mapping[str, Molecule]) -> Values:
    """Of sampled conformations.

    Returns:
        pairwise_rmsd: mean over molecules of the mean RMSD of two conformations, Å; cov_r, mat_r: the share of real
        conformations within 0.5 Å of a sampled one, and the mean distance to the nearest, Å; torsion_entropy: of the
        angles about single bonds outside of rings, over all molecules, nats; bond_bias: mean of sampled less real bond
        lengths, Å; bond_bias_by_type: the same by the two elements and the bond type, as numbers that read
        10,000·first + 100·second + type; clashes: share of conformations with two atoms too near.
    """
    tables = [rmsd_table(of.example, real[name].coordinates, of.coordinates) for name, of in sampled.items()]
    covered = coverage_and_matching(tables)
    biases = bond_biases(sampled, real)
    return {
        "pairwise_rmsd": pairwise(sampled),
        "cov_r": covered["cov_r_0.5"],
        "mat_r": covered["mat_r"],
        "torsion_entropy": torsion_entropy(sampled),
        "clashes": clashes(sampled),
        "bond_bias": _mean(biases),
        "bond_bias_by_type": {float(kind): total / count for kind, (total, count) in biases.items()},
    }


def of_real(real: Mapping[str, Molecule]) -> Values:
    """The same of real conformations: each one's nearest is another one of its molecule."""
    nearest = []
    for of in real.values():
        if len(of.coordinates) > 1:
            table = rmsd_table(of.example, of.coordinates, of.coordinates)
            nearest.append((table + np.diag(np.full(len(table), np.inf))).min(axis=1))
    rows = [distances[:, None] for distances in nearest]
    covered = coverage_and_matching(rows) if rows else {"cov_r_0.5": float("nan"), "mat_r": float("nan")}
    return {
        "pairwise_rmsd": pairwise(real),
        "cov_r": covered["cov_r_0.5"],
        "mat_r": covered["mat_r"],
        "torsion_entropy": torsion_entropy(real),
        "clashes": clashes(real),
        "bond_bias": 0.0,
        "bond_bias_by_type": {float(kind): 0.0 for kind in bond_biases(real, real)},
    }


def pairwise(molecules: Mapping[str, Molecule]) -> float:
    """Mean over molecules of the mean RMSD of two of its conformations, Å; NaN where none has two."""
    found = []
    for of in molecules.values():
        count = len(of.coordinates)
        if count > 1:
            table = rmsd_table(of.example, of.coordinates, of.coordinates)
            found.append(table[np.triu_indices(count, 1)].mean())
    return float(np.mean(found)) if found else float("nan")


def clashes(molecules: Mapping[str, Molecule]) -> float:
    """Share of conformations with two atoms more than three bonds apart that are too near (`metrics.CLASH`)."""
    found = []
    for of in molecules.values():
        graph = build_graph(len(of.example.atomic_numbers), of.example.bonds)
        found += [clash(points, of.example.atomic_numbers, graph) for points in of.coordinates]
    return float(np.mean(found)) if found else float("nan")


def torsion_entropy(molecules: Mapping[str, Molecule]) -> float:
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


Biases = dict[int, tuple[float, int]]  # by type: the sum of length differences over bonds, and their number


def bond_biases(sampled: Mapping[str, Molecule], real: Mapping[str, Molecule]) -> Biases:
    """Sampled less real bond lengths by bond type, Å: of each sample and the real conformation that it stands for."""
    found: Biases = {}
    for name, of in sampled.items():
        known = dict(zip(real[name].places, real[name].coordinates, strict=True))
        bonds, numbers = of.example.bonds, of.example.atomic_numbers
        kinds = np.sort(numbers[bonds[:, :2]], axis=1) @ np.array([10_000, 100]) + bonds[:, 2]
        for place, points in zip(of.places, of.coordinates, strict=True):
            off = _lengths(points, bonds) - _lengths(known[place], bonds)
            for kind, value in zip(kinds.tolist(), off.tolist(), strict=True):
                total, count = found.get(kind, (0.0, 0))
                found[kind] = total + value, count + 1
    return found


def _lengths(points: Floats, bonds: Ints) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(points[bonds[:, 0]] - points[bonds[:, 1]], axis=1).astype(np.float64)
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
