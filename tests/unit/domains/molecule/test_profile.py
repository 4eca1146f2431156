"""How sampled conformations differ from real ones: numbers worked out by hand, and made samples of every kind."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from selfloop.domains.molecule.data.conformations import Conformation
from selfloop.domains.molecule.domain import DOMAIN
from selfloop.domains.molecule.profile import (
    Mirror,
    Molecule,
    Values,
    carried,
    clashes,
    torsion_entropy,
)

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
    return {smiles: Molecule(example, list(points))}


def test_the_torsion_entropy_counts_bins_of_ten_degrees() -> None:
    assert torsion_entropy(molecule(bent(1.0), bent(1.0))) == 0
    angles = np.arange(36) * 2 * np.pi / 36 + 0.05
    assert torsion_entropy(molecule(*map(bent, angles))) == pytest.approx(math.log(36))


def test_the_bias_of_bond_lengths_is_signed_and_by_type() -> None:
    real, sampled = molecule(bent(1.0), bent(2.0)), molecule(bent(1.0, 0.1), bent(2.0, 0.3))
    pytest.importorskip("rdkit")
    found = Mirror(real, {}).measures(sampled)
    assert found["bond_bias_by_type"] == pytest.approx({10801.0: 0.2, 80801.0: 0.0}, abs=1e-6)
    assert found["bond_bias"] == pytest.approx(0.2 * 2 / 3, abs=1e-6)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_kappa_is_the_share_of_the_bias_that_comes_back(factor: float) -> None:
    real = molecule(bent(1.0), bent(2.0))
    mirror = Mirror(real, {})
    after = molecule(bent(1.0, 0.1 * factor), bent(2.0, 0.1 * factor))
    found = mirror.carried(molecule(bent(1.0, 0.1), bent(2.0, 0.1)), after)
    assert found["kappa"] == pytest.approx(factor, abs=1e-5)
    assert math.isnan(carried({10801: (0.0, 2)}, mirror.biases(after))["kappa"])


def test_conformations_clash_whose_ends_meet() -> None:
    pytest.importorskip("rdkit")
    ring = folded(np.array([0.0, 0.0, 0.0]), np.full(5, 1.5))
    open_chain = folded(np.full(3, math.pi), np.full(5, 1.5))
    assert clashes({"a": Molecule(CHAIN, [ring, open_chain])}) == 0.5


def test_the_nearest_of_a_real_conformation_is_another_one() -> None:
    pytest.importorskip("rdkit")
    alike = Mirror(molecule(bent(1.0), bent(1.0), bent(1.0)), {}).itself
    assert (alike["cov_r"], alike["mat_r"], alike["pairwise_rmsd"]) == pytest.approx((1, 0, 0), abs=1e-3)


def test_samples_are_compared_with_conformations_that_are_not_trained_on() -> None:
    pytest.importorskip("rdkit")
    trained = molecule(bent(1.0), bent(1.0)) | {"O": Molecule(CHAIN, [np.zeros((6, 3), np.float32)])}
    others = {"O([H])O[H]": [bent(1.0, 0.1), bent(1.0, 0.1)]}
    mirror = Mirror(trained, others)
    assert list(mirror.real) == ["O([H])O[H]"]  # the other molecule has none
    copies = mirror.measures(molecule(bent(1.0), bent(1.0)))
    assert copies["bond_bias_by_type"] == pytest.approx({10801.0: -0.1, 80801.0: 0.0}, abs=1e-6)
    assert copies["trained_reference"] == 0
    assert mirror.itself["bond_bias_by_type"] == copies["bond_bias_by_type"]  # of the trained ones, as of samples
    assert Mirror(trained, {}).itself["trained_reference"] == 1


def test_samples_that_have_fallen_apart_are_counted_and_in_no_other_measure() -> None:
    pytest.importorskip("rdkit")
    mirror = Mirror(molecule(bent(1.0), bent(2.0)), {})
    torn = bent(1.0, 1.5)
    one, none = (mirror.measures(molecule(*points)) for points in ((bent(1.0, 0.1), torn), (torn, torn)))
    assert (one["fallen_apart"], none["fallen_apart"]) == (0.5, 1.0)
    assert one["bond_bias_by_type"] == pytest.approx({10801.0: 0.1, 80801.0: 0.0}, abs=1e-6)
    assert none["cov_r"] == 0
    assert all(math.isnan(none[name]) for name in ("mat_r", "bond_bias", "torsion_entropy", "clashes"))  # type: ignore[arg-type]
    assert math.isnan(mirror.carried(molecule(torn), molecule(torn))["kappa"])
    assert mirror.split(molecule(torn, bent(1.0)))[1] == {"O([H])O[H]": 1}


# A chain of nitrogen and five carbons, whose three torsion angles are near to 180°, or, in one of five, to 60°.
CHAIN = Conformation(
    "chain",
    "NCCCCC",
    np.array([7, 6, 6, 6, 6, 6]),
    np.array([[k, k + 1, 1] for k in range(5)]),
    np.zeros((6, 3), dtype=np.float32),
)
MOLECULES, CONFORMATIONS = 12, 6


def folded(angles: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Coordinates of the chain, from its torsion angles (3,) and bond lengths (5,); all angles are 110°."""
    bend = math.radians(110)
    points = [np.zeros(3), np.array([lengths[0], 0, 0])]
    points.append(points[1] + lengths[1] * np.array([-math.cos(bend), math.sin(bend), 0]))
    for torsion, length in zip(angles, lengths[2:], strict=True):
        a, b, c = points[-3:]
        along = (c - b) / np.linalg.norm(c - b)
        normal = np.cross(b - a, along)
        normal /= np.linalg.norm(normal)
        place = [-math.cos(bend), math.sin(bend) * math.cos(torsion), math.sin(bend) * math.sin(torsion)]
        points.append(c + length * (place[0] * along + place[1] * np.cross(normal, along) + place[2] * normal))
    return np.array(points, dtype=np.float32)


def draw(seed: int, folds: float = 0.2, random: float = 0.0, stretch: float = 0.0) -> dict[str, Molecule]:
    """Conformations whose torsion angles are near 60° in a share `folds`, and anywhere in a share `random`."""
    generator, found = np.random.default_rng(seed), {}
    for name in range(MOLECULES):
        points = []
        for _ in range(CONFORMATIONS):
            modes = np.where(generator.random(3) < folds, math.radians(60), math.pi)
            near = modes + generator.normal(0, math.radians(8), 3)
            angles = np.where(generator.random(3) < random, generator.uniform(-math.pi, math.pi, 3), near)
            lengths = 1.5 + generator.normal(0, 0.01, 5) + stretch * np.array([2, 1, 1, 1, 1])
            points.append(folded(angles, lengths))
        found[str(name)] = Molecule(CHAIN, points)
    return found


KINDS: dict[str, list[dict[str, float]]] = {
    "modal collapse": [{"folds": 0.2}, {"folds": 0.1}, {"folds": 0.0}],
    "towards uniformity": [{"random": 0.0}, {"random": 0.5}, {"random": 1.0}],
    "amplified": [{"stretch": 0.01}, {"stretch": 0.02}, {"stretch": 0.04}],
}
Chains = dict[int, list[tuple[Values, Values]]]


def chains(kind: list[dict[str, float]]) -> Chains:
    held_out = {name: of.coordinates for name, of in draw(1000).items()}
    mirror, found = Mirror(draw(1001), held_out), Chains()
    for seed in (0, 1, 2):
        before: dict[str, Molecule] | None = None
        for n, how in enumerate(kind):
            own = draw(10 * seed + n + 1, **how)
            past = {} if before is None else mirror.carried(before, own)
            found.setdefault(seed, []).append(({**mirror.measures(own), **past}, mirror.itself))
            before = own
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_phenomenon_of_made_conformations_is_named_and_no_other(
    kind: str, happening: Callable[..., set[str]]
) -> None:
    pytest.importorskip("rdkit")
    assert happening(DOMAIN, chains(KINDS[kind])) == {kind}


def test_conformations_that_stay_as_they_are_while_losses_rise_only_blow_up(happening: Callable[..., set[str]]) -> None:
    pytest.importorskip("rdkit")
    assert happening(DOMAIN, chains([{}, {}, {}]), (1.0, 1.3, 1.6)) == {"blows up"}
