"""The loss as the paper's formulas say it, molecule by molecule: what `loss.losses` is checked and timed against.

Every molecule's graph is built anew from its bonds, with an edge for each direction; messages and scores are computed
for every directed edge. Nothing here is shared with the fast way but the network's layers.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from selfloop.domains.molecule.model.network import EdgeEncoder, GeoDiff, Interaction, LocalLayer


def direct_losses(
    model: GeoDiff,
    atomic_numbers: list[Tensor],
    bonds: list[Tensor],
    positions: list[Tensor],
    levels: Tensor,
    noise: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """The global and the local loss, weighted, summed over atoms; all arguments are per molecule.

    Args:
        model: the network.
        atomic_numbers: each [atoms].
        bonds: each [bonds, 3], two atoms and a type.
        positions: each [atoms, 3], Å.
        levels: [molecules], sigma.
        noise: each [atoms, 3].
    """
    remote, local = levels.new_zeros(()), levels.new_zeros(())
    for number, bond, x, sigma, z in zip(atomic_numbers, bonds, positions, levels, noise, strict=True):
        noisy = x + sigma * z
        source, target, types = edges(len(x), bond, noisy, model.shape.cutoff)
        length = (noisy[source] - noisy[target]).norm(dim=1)
        wanted = ((x[source] - x[target]).norm(dim=1) - length) / sigma
        bonded = types > 0
        globally = global_scores(model, number, source, target, types, length) * ~bonded
        locally = local_scores(model, number, source[bonded], target[bonded], types[bonded], length[bonded])
        error = positions_of((globally - wanted) * ~bonded, noisy, source, target, length)
        remote = remote + 2 * error.square().sum()
        edge = (source[bonded], target[bonded], length[bonded])
        error = positions_of(locally - wanted[bonded], noisy, *edge)
        local = local + 5 * error.square().sum()
    return remote, local


def edges(atoms: int, bonds: Tensor, positions: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Both directions of every edge: pairs at most three bonds apart by their type, others within the cutoff as 0."""
    kinds = torch.zeros((atoms, atoms), dtype=torch.long)
    kinds[bonds[:, 0], bonds[:, 1]] = bonds[:, 2]
    kinds = kinds + kinds.t()
    adjacent = (kinds > 0).float()
    reached = torch.eye(atoms) + adjacent
    for kind in (23, 24):
        further = ((reached @ adjacent) > 0) & (reached == 0)
        kinds[further] = kind
        reached = reached + further
    near = (positions[:, None] - positions[None]).norm(dim=2) <= cutoff
    seen = ((kinds > 0) | near) & ~torch.eye(atoms, dtype=torch.bool)
    source, target = seen.nonzero(as_tuple=True)
    return source, target, kinds[source, target]


def positions_of(scores: Tensor, positions: Tensor, source: Tensor, target: Tensor, length: Tensor) -> Tensor:
    """The chain rule: scores of directed edges' lengths to scores of positions, at both ends of each edge."""
    direction = (positions[source] - positions[target]) / length[:, None]
    pushed = torch.zeros_like(positions).index_add(0, source, direction * scores[:, None])
    return pushed.index_add(0, target, -direction * scores[:, None])


def global_scores(
    model: GeoDiff, number: Tensor, source: Tensor, target: Tensor, types: Tensor, length: Tensor
) -> Tensor:
    """SchNet over directed edges, and a score for each."""
    edge = encode(model.global_edges, length, types)
    cutoff = model.shape.cutoff
    fade = 0.5 * (torch.cos(length * math.pi / cutoff) + 1) * (length <= cutoff)
    atoms = model.global_embedding.weight[number]
    for layer in model.global_layers:
        assert isinstance(layer, Interaction)
        weights = layer.filter_out(functional.softplus(layer.filter_in(edge)) - math.log(2)) * fade[:, None]
        message = layer.atoms_in(atoms)[target] * weights
        convolved = layer.atoms_out(torch.zeros_like(atoms).index_add(0, source, message))
        atoms = atoms + layer.out(functional.softplus(convolved) - math.log(2))
    scores: Tensor = model.global_score(torch.cat([atoms[source] * atoms[target], edge], dim=1))[:, 0]
    return scores


def local_scores(
    model: GeoDiff, number: Tensor, source: Tensor, target: Tensor, types: Tensor, length: Tensor
) -> Tensor:
    """The graph isomorphism network over directed local edges, and a score for each."""
    edge = encode(model.global_edges if model.local_edges is None else model.local_edges, length, types)
    atoms = model.local_embedding.weight[number]
    for place, layer in enumerate(model.local_layers):
        assert isinstance(layer, LocalLayer)
        message = functional.relu(atoms[target] + edge)
        mixed = layer.mlp(torch.zeros_like(atoms).index_add(0, source, message) + atoms)
        atoms = atoms + (mixed if place == len(model.local_layers) - 1 else functional.relu(mixed))
    scores: Tensor = model.local_score(torch.cat([atoms[source] * atoms[target], edge], dim=1))[:, 0]
    return scores


def encode(encoder: EdgeEncoder, length: Tensor, types: Tensor) -> Tensor:
    """Features of edges."""
    features: Tensor = encoder.lengths(length[:, None]) * encoder.types.weight[types]
    return features
