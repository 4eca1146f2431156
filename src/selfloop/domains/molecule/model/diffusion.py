"""The diffusion over atom positions, and its loss (Xu et al. 2022, section 4; Ho et al. 2020).

Positions are kept in the frame of the molecule, not shrunk: at time t, x_t = x + sigma_t z with sigma_t² = (1-a_t)/a_t
and a_t the product of 1-beta up to t. That is DDPM's forward process divided by sqrt(a_t).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from selfloop.domains.molecule.data.graph import Batch, pairs_within
from selfloop.domains.molecule.model.network import GeoDiff, forces

GLOBAL_WEIGHT, LOCAL_WEIGHT = 2.0, 5.0


def sigmas(model: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """The noise levels [timesteps], Å, rising: betas along a sigmoid from -6 to 6, from beta_start to beta_end."""
    x = np.linspace(-6, 6, model["timesteps"])
    betas = model["beta_start"] + (model["beta_end"] - model["beta_start"]) / (1 + np.exp(-x))
    alphas = np.cumprod(1 - betas)
    return np.asarray(np.sqrt((1 - alphas) / alphas))


def antithetic_times(molecules: int, timesteps: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Times [molecules] from 0 to timesteps-1; the second half mirrors the first, so that noise levels balance."""
    half = generator.integers(0, timesteps, size=molecules // 2 + 1)
    return np.concatenate([half, timesteps - half - 1])[:molecules]


class Losses(NamedTuple):
    """Sums over atoms of the squared errors, weighted as in the total loss (2 global, 5 local), and how many atoms."""

    remote: Tensor
    local: Tensor
    atoms: int


def losses(model: GeoDiff, batch: Batch, positions: Tensor, levels: Tensor, noise: Tensor) -> Losses:
    """The weighted variational bound's two terms, for given noise.

    The network sees the noisy positions and predicts, for every pair that sees each other there, the change of its
    length to the true one in units of the noise level; both sides are turned into forces on atoms and compared there.
    The sum over pairs of the difference of both sides is the difference of the sums, so one sum is enough.

    Args:
        model: the network.
        batch: the molecules.
        positions: [atoms, 3], the true ones, Å.
        levels: [molecules], sigma of each molecule, Å.
        noise: [atoms, 3], standard normal.
    """
    per_atom = levels.index_select(0, batch.molecule)
    noisy = positions + noise * per_atom.unsqueeze(1)
    pairs = pairs_within(batch, noisy, model.shape.cutoff)
    ends = positions.index_select(0, pairs.first) - positions.index_select(0, pairs.second)
    true = torch.linalg.vector_norm(ends, dim=1)
    targets = (true - pairs.lengths) / per_atom.index_select(0, pairs.first)
    remote, local = model(batch, pairs)
    n, atoms = pairs.local, len(positions)
    globally = forces(remote - targets[n:], pairs.first[n:], pairs.second[n:], pairs.units[n:], atoms)
    locally = forces(local - targets[:n], pairs.first[:n], pairs.second[:n], pairs.units[:n], atoms)
    return Losses(GLOBAL_WEIGHT * globally.square().sum(), LOCAL_WEIGHT * locally.square().sum(), atoms)
