"""How sampled conformations differ from real ones, on molecules whose numbers can be worked out by hand."""

import math

import numpy as np
import pytest

from selfloop.domains.molecule.data.conformations import Conformation
from selfloop.domains.molecule.profile import Molecule, bond_biases, carried, measures, of_real, torsion_entropy

# Hydrogen peroxide: one bond between two others, whose torsion angle is chosen.
BONDS = np.array([[0, 1, 1], [0, 2, 1], [2, 3, 1]])
NUMBERS = np.array([8, 1, 8, 1])


def bent(angle: float, stretch: float = 0.0) -> np.ndarray:
    """H-O-O-H with right angles and this torsion; O-H bonds are longer by `stretch`."""
    length = 1.0 + stretch
    last = [1.4, length * math.cos(angle), length * math.sin(angle)]
    return np.array([[0, 0, 0], [0, length, 0], [1.4, 0, 0], last], dtype=np.float32)


def molecule(*points: np.ndarray) -> dict[str, Molecule]:
    smiles = "O([H])O[H]"
    example = Conformation("peroxide", smiles, NUMBERS, BONDS, points[0])
    return {smiles: Molecule(example, list(points), list(range(len(points))))}


def test_the_torsion_entropy_counts_bins_of_ten_degrees() -> None:
    assert torsion_entropy(molecule(bent(1.0), bent(1.0))) == 0
    angles = np.arange(36) * 2 * np.pi / 36 + 0.05
    assert torsion_entropy(molecule(*map(bent, angles))) == pytest.approx(math.log(36))


def test_the_bias_of_bond_lengths_is_signed_and_by_type() -> None:
    real, sampled = molecule(bent(1.0), bent(2.0)), molecule(bent(1.0, 0.1), bent(2.0, 0.3))
    found = measures(sampled, real)
    assert found["bond_bias_by_type"] == pytest.approx({10801.0: 0.2, 80801.0: 0.0}, abs=1e-6)
    assert found["bond_bias"] == pytest.approx(0.2 * 2 / 3, abs=1e-6)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_kappa_is_the_share_of_the_bias_that_comes_back(factor: float) -> None:
    real = molecule(bent(1.0), bent(2.0))
    before = bond_biases(molecule(bent(1.0, 0.1), bent(2.0, 0.1)), real)
    after = bond_biases(molecule(bent(1.0, 0.1 * factor), bent(2.0, 0.1 * factor)), real)
    found = carried(before, after)
    assert found["kappa"] == pytest.approx(factor, abs=1e-5)
    assert math.isnan(carried(bond_biases(real, real), after)["kappa"])


def test_the_nearest_of_a_real_conformation_is_another_one() -> None:
    pytest.importorskip("rdkit")
    alike = of_real(molecule(bent(1.0), bent(1.0), bent(1.0)))
    assert (alike["cov_r"], alike["mat_r"], alike["pairwise_rmsd"]) == pytest.approx((1, 0, 0), abs=1e-3)
