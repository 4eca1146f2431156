"""GeoDiff's network and its loss."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from molecule_reference import direct_losses
from torch import Tensor

from selfloop.domains.molecule.config import Model
from selfloop.domains.molecule.data import graph
from selfloop.domains.molecule.data.conformations import Conformations
from selfloop.domains.molecule.data.graph import Batch, build_batch, pairs_within
from selfloop.domains.molecule.domain import parameter_count
from selfloop.domains.molecule.model.loss import losses
from selfloop.domains.molecule.model.network import GeoDiff, build, forces
from selfloop.domains.molecule.model.noise_schedule import antithetic_times, sigmas

SMALL = Model(hidden_size=16, global_layers=2, local_layers=3, cutoff=5.0)
PAPER = Model()


def scores(model: GeoDiff, batch: Batch, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Global and local scores of positions, each [atoms, 3]."""
    pairs = pairs_within(batch, positions, model.shape.cutoff)
    n, atoms = pairs.local, len(positions)
    remote, local = model(batch, pairs)
    return (
        forces(remote, pairs.first[n:], pairs.second[n:], pairs.units[n:], atoms),
        forces(local, pairs.first[:n], pairs.second[:n], pairs.units[:n], atoms),
    )


def whole_batch(molecules: Conformations, rows: list[int]) -> tuple[Batch, Tensor]:
    numbers = np.concatenate([molecules[row].atomic_numbers for row in rows])
    positions = np.concatenate([molecules[row].coordinates for row in rows])
    return build_batch([molecules.graph(row) for row in rows], numbers), torch.from_numpy(positions)


def rotation(seed: int) -> Tensor:
    """A random proper rotation [3, 3]."""
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return q * torch.sign(torch.linalg.det(q))


@pytest.mark.parametrize("edge_encoder", ["separate", "shared"])
def test_the_score_rotates_with_the_molecule_and_ignores_translation(
    molecules: Conformations, edge_encoder: str
) -> None:
    model = build(SMALL.changed(edge_encoder=edge_encoder), 1).double()
    batch, positions = whole_batch(molecules, [1, 4, 6])
    positions = positions.double()
    turn, shift = rotation(3), torch.tensor([10.0, -20.0, 30.0], dtype=torch.float64)
    for before, after in zip(
        scores(model, batch, positions), scores(model, batch, positions @ turn.T + shift), strict=True
    ):
        assert before.abs().max() > 1e-3
        assert torch.allclose(before @ turn.T, after, atol=1e-5 * before.detach().abs().max().item(), rtol=0)


def test_so_does_the_score_in_float32(molecules: Conformations) -> None:
    model = build(SMALL, 1)
    batch, positions = whole_batch(molecules, [4])
    turn = rotation(5).float()
    for before, after in zip(scores(model, batch, positions), scores(model, batch, positions @ turn.T), strict=True):
        assert torch.allclose(before @ turn.T, after, atol=1e-5 * before.detach().abs().max().item(), rtol=0)


def test_the_score_is_not_blind_to_mirror_images_of_positions_alone(molecules: Conformations) -> None:
    """Distances cannot tell mirror images apart: the score is mirrored, too. So says the paper's construction."""
    model = build(SMALL, 1).double()
    batch, positions = whole_batch(molecules, [6])
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    for before, after in zip(
        scores(model, batch, positions.double()), scores(model, batch, positions.double() @ mirror), strict=True
    ):
        assert torch.allclose(before @ mirror, after, atol=1e-8)


def test_another_order_of_the_atoms_permutes_the_score(molecules: Conformations) -> None:
    from selfloop.domains.molecule.data.graph import build_graph

    model = build(SMALL, 1).double()
    row = molecules[4]
    atoms = len(row.atomic_numbers)
    order = np.random.default_rng(0).permutation(atoms)
    place = np.argsort(order)
    bonds = row.bonds.copy()
    bonds[:, :2] = np.sort(place[bonds[:, :2]], axis=1)
    batch = build_batch([molecules.graph(4)], row.atomic_numbers)
    other = build_batch([build_graph(atoms, bonds)], row.atomic_numbers[order])
    positions = torch.from_numpy(row.coordinates).double()
    for before, after in zip(
        scores(model, batch, positions), scores(model, other, positions[torch.from_numpy(order)]), strict=True
    ):
        assert torch.allclose(before[torch.from_numpy(order)], after, atol=1e-10)


def test_a_molecule_is_scored_alone_as_among_others(molecules: Conformations) -> None:
    model = build(SMALL, 1).double()
    together, positions = whole_batch(molecules, [0, 4, 8])
    alone, own = whole_batch(molecules, [4])
    begin = len(molecules[0].atomic_numbers)
    for whole, single in zip(
        scores(model, together, positions.double()), scores(model, alone, own.double()), strict=True
    ):
        assert torch.allclose(whole[begin : begin + len(own)], single, atol=1e-10)


@pytest.mark.parametrize("edge_encoder", ["separate", "shared"])
def test_the_loss_is_that_of_the_papers_formulas_molecule_by_molecule(
    molecules: Conformations, edge_encoder: str
) -> None:
    model = build(SMALL.changed(edge_encoder=edge_encoder), 2).double()
    rows = [0, 2, 5, 9]
    batch, positions = whole_batch(molecules, rows)
    positions = positions.double()
    levels = torch.tensor([0.01, 0.4, 2.0, 9.0], dtype=torch.float64)
    noise = torch.randn(positions.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = losses(model, batch, positions, levels, noise)
    sizes = [len(molecules[row].atomic_numbers) for row in rows]
    remote, local = direct_losses(
        model,
        list(torch.split(batch.atomic_numbers, sizes)),
        [torch.from_numpy(molecules[row].bonds) for row in rows],
        list(torch.split(positions, sizes)),
        levels,
        list(torch.split(noise, sizes)),
    )
    assert found.remote.item() == pytest.approx(remote.item(), rel=1e-9)
    assert found.local.item() == pytest.approx(local.item(), rel=1e-9)
    assert found.atoms == sum(sizes)


@pytest.mark.parametrize("far", [False, True])
def test_padding_changes_neither_losses_nor_gradients(
    molecules: Conformations, far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`far`: with pairs beyond the cutoff, as on a GPU."""
    monkeypatch.setattr(graph, "has_few_shapes", lambda device: far)
    monkeypatch.setattr(graph, "padded_size", lambda count: count + 7)
    rows = [0, 2, 5, 9]
    batch, positions = whole_batch(molecules, rows)
    longer = build_batch([molecules.graph(row) for row in rows], batch.atomic_numbers.numpy(), pads=True)
    levels = torch.tensor([0.01, 0.4, 2.0, 9.0])
    noise = torch.randn(positions.shape, generator=torch.Generator().manual_seed(1))
    found = []
    for each, count in ((batch, 0), (longer, 8)):
        model, rest = build(SMALL, 2), torch.zeros(count, 3)
        terms = losses(model, each, torch.cat([positions, rest]), levels, torch.cat([noise, rest]))
        loss = terms.remote + terms.local
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for expected, one in zip(*found, strict=True):
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_padded_sizes_are_few_and_at_most_an_eighth_larger() -> None:
    sizes = [graph.padded_size(count) for count in range(1, 4097)]
    assert all(count <= size <= count * 1.125 for count, size in enumerate(sizes, 1))
    assert len(set(sizes)) <= 16 + 8 * 8 and graph.padded_size(0) == 0


def test_a_perfect_score_has_no_loss(molecules: Conformations) -> None:
    """The target is the change of every length to the true one, in units of the noise level."""
    batch, positions = whole_batch(molecules, [2])
    level, noise = torch.tensor([0.3]), torch.randn(positions.shape)

    class Oracle(GeoDiff):
        def forward(self, batch: Batch, pairs: Any) -> tuple[Tensor, Tensor]:
            true = (positions[pairs.first] - positions[pairs.second]).norm(dim=1)
            wanted = (true - pairs.lengths) / 0.3
            return wanted[pairs.local :], wanted[: pairs.local]

    found = losses(Oracle(build(SMALL, 0).shape), batch, positions, level, noise)
    assert (found.remote.item(), found.local.item()) == pytest.approx((0, 0), abs=1e-6)


@pytest.mark.parametrize("model", [SMALL, PAPER, PAPER.changed(edge_encoder="shared")])
def test_the_number_of_parameters_is_known_without_torch(model: Model) -> None:
    assert sum(p.numel() for p in build(model, 0).parameters()) == parameter_count(model)


def test_at_the_papers_size_there_are_0_79_million_parameters() -> None:
    assert parameter_count(PAPER) == 793_858


def test_the_weights_follow_from_the_seed_and_leave_other_streams_alone() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    one, same, other = (build(SMALL, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.randn(3), expected)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
    assert asdict(build(SMALL, 0).shape).items() <= SMALL.plain.items()


def test_the_noise_levels_are_the_references() -> None:
    levels = sigmas(PAPER)
    assert (levels[-1], levels[-51]) == (pytest.approx(9.5, abs=0.05), pytest.approx(7.6, abs=0.1))
    assert np.all(np.diff(levels) > 0)


@pytest.mark.parametrize("molecules_", [2, 5, 8])
def test_times_mirror_each_other(molecules_: int) -> None:
    times = antithetic_times(molecules_, 1000, np.random.default_rng(0))
    half = molecules_ // 2 + 1
    assert len(times) == molecules_
    assert all(times[half + k] == 999 - times[k] for k in range(molecules_ - half))
