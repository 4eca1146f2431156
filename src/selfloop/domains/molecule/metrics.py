"""Quality of sampled conformations: coverage and matching, broken bonds, clashes.

Coverage and matching (Ganea et al. 2021; Xu et al. 2022, section 6.2) compare sampled with real conformations of one
molecule by RMSD after alignment: over heavy atoms, minimised over the molecule's automorphisms, of which at most
`MAX_MATCHES` are tried.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from selfloop.domains.molecule.data.chemistry import mol_of
from selfloop.domains.molecule.data.conformations import Conformation, Floats, Ints
from selfloop.domains.molecule.data.graph import MoleculeGraph

MAX_MATCHES = 1000
THRESHOLDS = (0.5, 1.25)  # Å: customary for QM9, and for GEOM-Drugs
BOND_TOLERANCE = 0.25  # relative deviation from the real bond length beyond which a bond is broken
CLASH = 0.6  # two atoms clash if closer than this fraction of the sum of their van der Waals radii


def rmsd_table(molecule: Conformation, real: Sequence[Floats], sampled: Sequence[Floats]) -> npt.NDArray[np.float64]:
    """RMSD in Å between real and sampled conformations of one molecule, [real, sampled].

    Args:
        molecule: its own coordinates are not used.
        real, sampled: coordinates, each [atoms, 3].
    """
    from rdkit.Chem import RemoveHs, rdMolAlign

    references, probes = (RemoveHs(mol_of(molecule, *points), sanitize=False) for points in (real, sampled))
    table = np.empty((len(real), len(sampled)))
    for row in range(len(real)):
        for column in range(len(sampled)):
            table[row, column] = rdMolAlign.GetBestRMS(
                probes, references, prbId=column, refId=row, maxMatches=MAX_MATCHES
            )
    return table


def coverage_and_matching(tables: Sequence[npt.NDArray[np.float64]]) -> dict[str, float]:
    """COV and MAT, means over molecules: recall is over real conformations, precision over sampled ones.

    Args:
        tables: of `rmsd_table`, one per molecule.

    Returns:
        mat_r, mat_p in Å; for each threshold, such as 1.25 Å, cov_r_1.25 and cov_p_1.25, fractions.
    """
    values = {}
    for letter, axis in (("r", 1), ("p", 0)):
        nearest = [table.min(axis=axis) for table in tables]
        values[f"mat_{letter}"] = float(np.mean([distances.mean() for distances in nearest]))
        for threshold in THRESHOLDS:
            covered = [(distances <= threshold).mean() for distances in nearest]
            values[f"cov_{letter}_{threshold:g}"] = float(np.mean(covered))
    return values


def quality(rows: Sequence[tuple[Conformation, Conformation, MoleculeGraph]]) -> dict[str, float]:
    """Chemical plausibility of sampled conformations.

    Args:
        rows: a sample, a real conformation of its molecule for reference bond lengths, and the molecule's graph.

    Returns:
        bond_error: mean absolute difference of a bond's length from the real one, Å.
        broken_bonds: share of samples with a bond whose length is off by more than `BOND_TOLERANCE`.
        clashes: share of samples in which two atoms more than three bonds apart are too near (`CLASH`).
    """
    errors, broken, clashes = [], [], []
    for sampled, real, graph in rows:
        off, right = _bond_errors(sampled, real)
        errors.append(off.mean())
        broken.append(bool((off > BOND_TOLERANCE * right).any()))
        clashes.append(clash(sampled.coordinates, sampled.atomic_numbers, graph))
    found = {"bond_error": errors, "broken_bonds": broken, "clashes": clashes}
    return {metric: float(np.mean(values)) for metric, values in found.items()}


def broken_bonds(sampled: Conformation, real: Conformation) -> int:
    """How many bonds of a sample are broken, by the lengths of a real conformation of its molecule."""
    off, right = _bond_errors(sampled, real)
    return int((off > BOND_TOLERANCE * right).sum())


def _bond_errors(sampled: Conformation, real: Conformation) -> tuple[Floats, Floats]:
    """How far the lengths of a sample's bonds are from the real ones, and those, Å, [bonds] each."""
    first, second = sampled.bonds[:, 0], sampled.bonds[:, 1]
    lengths, right = (_distances(each.coordinates, first, second) for each in (sampled, real))
    return np.abs(lengths - right), right


def clash(points: Floats, atomic_numbers: Ints, graph: MoleculeGraph) -> bool:
    """Whether two atoms of a conformation [atoms, 3] more than three bonds apart are too near (`CLASH`)."""
    one, other = graph.remote
    radii = _radii(atomic_numbers)
    return bool((_distances(points, one, other) < CLASH * (radii[one] + radii[other])).any())


def _distances(points: Floats, first: npt.NDArray[np.integer], second: npt.NDArray[np.integer]) -> Floats:
    return np.asarray(np.linalg.norm(points[first] - points[second], axis=1))


def _radii(numbers: Ints) -> npt.NDArray[np.float64]:
    from rdkit.Chem import GetPeriodicTable

    table = GetPeriodicTable()
    distinct, places = np.unique(numbers, return_inverse=True)
    return np.array([table.GetRvdw(int(number)) for number in distinct])[places]
