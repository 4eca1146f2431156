"""GeoDiff's network (Xu et al. 2022, section 5.1 and appendix A): two encoders that score interatomic distances.

In plain torch: importing torch-geometric 2.8.1 takes 2.4 s in every step, twice as long as torch; its radius graph
needs a compiled extension, and its convolutions compute a filter per direction of an edge, which here would be the same
one twice (see `graph`).
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from selfloop.domains.molecule.config import Model
from selfloop.domains.molecule.data.graph import ELEMENTS, Batch, Pairs

TYPES = 100  # rows of an embedding by edge type, of which 25 are used
NORM = 10.0  # maximum norm of an initial row of the global encoder's embedding


@dataclass(frozen=True)
class Shape:
    """The network's shape; the names are those of the config's `model` section."""

    hidden_size: int
    global_layers: int
    local_layers: int
    cutoff: float
    edge_encoder: Literal["separate", "shared"]

    @classmethod
    def of(cls, model: Model) -> "Shape":
        """The shape in a config's `model` section."""
        return cls(**{name: getattr(model, name) for name in cls.__dataclass_fields__})


def perceptron(*sizes: int) -> nn.Sequential:
    """Linear layers with ReLU between."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def shifted_softplus(x: Tensor) -> Tensor:
    """ln(½ eˣ + ½), SchNet's activation."""
    return functional.softplus(x).sub_(math.log(2))


class EdgeEncoder(nn.Module):
    """A pair's features: those of its length times those of its type."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.types = nn.Embedding(TYPES, hidden)
        self.lengths = perceptron(1, hidden, hidden)

    def forward(self, lengths: Tensor, types: Tensor) -> Tensor:
        """From lengths [pairs] and types [pairs] to [pairs, hidden]."""
        features: Tensor = self.lengths(lengths.unsqueeze(1)) * self.types(types)
        return features


def gather(messages_to_first: Tensor, messages_to_second: Tensor, pairs: Pairs, like: Tensor) -> Tensor:
    """Sum the messages at each atom: [pairs, hidden] twice → the shape of `like`, [atoms, hidden].

    With `index_add`, since `scatter_add` is not deterministic on a GPU.
    """
    summed = torch.zeros_like(like).index_add(0, pairs.first, messages_to_first)
    return summed.index_add_(0, pairs.second, messages_to_second)


class Interaction(nn.Module):
    """SchNet's interaction block (Schütt et al. 2017) with filters from the pairs' features."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.filter_in = nn.Linear(hidden, hidden)
        self.filter_out = nn.Linear(hidden, hidden)
        self.atoms_in = nn.Linear(hidden, hidden, bias=False)
        self.atoms_out = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, hidden)
        nn.init.xavier_uniform_(self.atoms_in.weight)
        nn.init.xavier_uniform_(self.atoms_out.weight)
        nn.init.zeros_(self.atoms_out.bias)

    def forward(self, atoms: Tensor, features: Tensor, pairs: Pairs, fade: Tensor) -> Tensor:
        """From [atoms, hidden] and [pairs, hidden] to [atoms, hidden]; `fade` [pairs, 1] is the cutoff envelope."""
        filters = self.filter_out(shifted_softplus(self.filter_in(features))).mul_(fade)
        inner = self.atoms_in(atoms)
        to_first = inner.index_select(0, pairs.second) * filters
        to_second = inner.index_select(0, pairs.first) * filters
        convolved: Tensor = self.atoms_out(gather(to_first, to_second, pairs, inner))
        mixed: Tensor = self.out(shifted_softplus(convolved))
        return mixed


class LocalLayer(nn.Module):
    """A graph isomorphism layer with edge features (Hu et al. 2020), epsilon 0."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = perceptron(hidden, hidden, hidden)

    def forward(self, atoms: Tensor, features: Tensor, pairs: Pairs) -> Tensor:
        """From [atoms, hidden] and [pairs, hidden] to [atoms, hidden]."""
        to_first = torch.relu(atoms.index_select(0, pairs.second) + features)
        to_second = torch.relu(atoms.index_select(0, pairs.first) + features)
        mixed: Tensor = self.mlp(gather(to_first, to_second, pairs, atoms) + atoms)
        return mixed


class GeoDiff(nn.Module):
    """Scores of distances: how each pair's length should change, in units of the noise level."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        hidden = shape.hidden_size
        self.global_edges = EdgeEncoder(hidden)
        # The original defines a local encoder without using it: both branches share the global one's features.
        self.local_edges = EdgeEncoder(hidden) if shape.edge_encoder == "separate" else None
        self.global_embedding = nn.Embedding(ELEMENTS, hidden)
        self.local_embedding = nn.Embedding(ELEMENTS, hidden)
        with torch.no_grad():  # the original also clamps the norms during training
            norms = torch.linalg.vector_norm(self.global_embedding.weight, dim=1, keepdim=True)
            self.global_embedding.weight *= (NORM / norms).clamp(max=1.0)
        self.global_layers = nn.ModuleList(Interaction(hidden) for _ in range(shape.global_layers))
        self.local_layers = nn.ModuleList(LocalLayer(hidden) for _ in range(shape.local_layers))
        self.global_score = perceptron(2 * hidden, hidden, hidden // 2, 1)
        self.local_score = perceptron(2 * hidden, hidden, hidden // 2, 1)

    def forward(self, batch: Batch, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Scores of the remote pairs [pairs - local] and of the local ones [local]."""
        return self.global_scores(batch, pairs), self.local_scores(batch, pairs)

    def global_scores(self, batch: Batch, pairs: Pairs) -> Tensor:
        """Scores of the remote pairs, from messages along all pairs."""
        features = self.global_edges(pairs.lengths, pairs.types)
        within = pairs.lengths <= self.shape.cutoff
        fade = (0.5 * (torch.cos(pairs.lengths * (math.pi / self.shape.cutoff)) + 1.0) * within).unsqueeze(1)
        atoms = self.global_embedding(batch.atomic_numbers)
        for layer in self.global_layers:
            atoms = atoms + layer(atoms, features, pairs, fade)
        remote = pairs._replace(first=pairs.first[pairs.local :], second=pairs.second[pairs.local :])
        return _score(self.global_score, atoms, features[pairs.local :], remote)

    def local_scores(self, batch: Batch, pairs: Pairs) -> Tensor:
        """Scores of the local pairs, from messages along local pairs only."""
        n = pairs.local
        local = Pairs(pairs.first[:n], pairs.second[:n], pairs.types[:n], pairs.lengths[:n], pairs.units[:n], n)
        encoder = self.global_edges if self.local_edges is None else self.local_edges
        features = encoder(local.lengths, local.types)
        atoms = self.local_embedding(batch.atomic_numbers)
        for index, layer in enumerate(self.local_layers):
            mixed = layer(atoms, features, local)
            atoms = atoms + (torch.relu(mixed) if index < len(self.local_layers) - 1 else mixed)
        return _score(self.local_score, atoms, features, local)


def _score(head: nn.Module, atoms: Tensor, features: Tensor, pairs: Pairs) -> Tensor:
    product = atoms.index_select(0, pairs.first) * atoms.index_select(0, pairs.second)
    scores: Tensor = head(torch.cat([product, features], dim=1))
    return scores.squeeze(1)


def forces(scores: Tensor, first: Tensor, second: Tensor, units: Tensor, atoms: int) -> Tensor:
    """Scores of positions from scores of distances, by the chain rule (Xu et al. 2022, eq. 6).

    The original sums over both directions of every edge and both ends of each, so each pair counts twice, as here.

    Args:
        scores: [pairs].
        first, second: [pairs], atoms.
        units: [pairs, 3], see `Pairs`.
        atoms: number of atoms.

    Returns:
        [atoms, 3], equivariant to rotation and invariant to translation of the positions.
    """
    pushes = (2.0 * scores).unsqueeze(1) * units
    summed = pushes.new_zeros((atoms, 3)).index_add(0, first, pushes)
    return summed.index_add_(0, second, pushes, alpha=-1)


def build(model: Model, seed: int) -> GeoDiff:
    """A freshly initialised network of a config's `model` section."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GeoDiff(Shape.of(model))
