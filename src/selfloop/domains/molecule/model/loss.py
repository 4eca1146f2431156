"""GeoDiff's denoising loss, for training and on held-out conformations."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from selfloop.domains.molecule.data.conformations import Conformations
from selfloop.domains.molecule.data.graph import Batch, build_batch, pairs_within
from selfloop.domains.molecule.model.evaluation import LEARNING_CURVE_ROWS, SCORE_LEVELS
from selfloop.domains.molecule.model.network import GeoDiff, forces
from selfloop.identity import stream

GLOBAL_WEIGHT, LOCAL_WEIGHT = 2.0, 5.0
BATCH = 32


class Losses(NamedTuple):
    """Squared errors summed over atoms, weighted as in the total loss (2 global, 5 local), and the number of atoms."""

    remote: Tensor
    local: Tensor
    atoms: int


def losses(
    model: GeoDiff, batch: Batch, positions: Tensor, levels: Tensor, noise: Tensor, weights: Tensor | None = None
) -> Losses:
    """The two terms of the weighted variational bound, for given noise.

    Args:
        model, batch, positions, levels, noise: see `squared_errors`.
        weights: [atoms], of the squared errors; None for 1.
    """
    squares = squared_errors(model, batch, positions, levels, noise)
    if weights is not None:
        squares = squares[0] * weights[:, None], squares[1] * weights[:, None]
    return Losses(GLOBAL_WEIGHT * squares[0].sum(), LOCAL_WEIGHT * squares[1].sum(), len(positions))


def squared_errors(
    model: GeoDiff, batch: Batch, positions: Tensor, levels: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The squared errors of the global and of the local term, [atoms, 3] each, for given noise.

    From noisy positions the network predicts, for every edge, the change of its length to the true one in units of the
    noise level. Prediction and target are compared as forces on atoms; since forces are linear in the scores, one
    scatter of their difference is enough.

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
    return globally.square(), locally.square()


def evaluation_rows(test: Conformations) -> npt.NDArray[np.int64]:
    """Evenly spaced conformations for the learning curve, at most `LEARNING_CURVE_ROWS`."""
    return np.unique(np.linspace(0, len(test) - 1, min(len(test), LEARNING_CURVE_ROWS)).round().astype(np.int64))


@torch.inference_mode()
def held_out_losses(
    model: GeoDiff,
    levels: npt.NDArray[np.float64],
    test: Conformations,
    rows: npt.NDArray[np.int64],
    device: torch.device | str,
    draws: int,
) -> dict[str, float]:
    """The total loss and its two terms, means over atoms, times and noise: total = global + local.

    Times are stratified over all evaluations (`draws` per row), so that noise levels count equally in the means. Times
    and noise depend on the rows and `draws` alone: models are compared with common random numbers.

    Args:
        model: the network.
        levels: the noise levels [timesteps].
        test: held-out conformations.
        rows: indices of those to evaluate.
        device: to compute on.
        draws: evaluations per conformation, each with its own time and noise.
    """
    generator = np.random.default_rng(stream("molecule", "noise of the test losses"))
    count = len(rows) * draws
    # A permuted lattice over all evaluations: every time as often as any other.
    spread = (generator.permutation(count) + 0.5) / count
    times = np.floor(spread * len(levels)).astype(np.int64)
    remote = local = 0.0
    atoms = 0
    for begin in range(0, count, BATCH):
        chosen = slice(begin, begin + BATCH)
        batch_rows = [int(row) for row in np.tile(rows, draws)[chosen]]
        numbers = np.concatenate([test[row].atomic_numbers for row in batch_rows])
        positions = np.concatenate([test[row].coordinates for row in batch_rows])
        noise = generator.standard_normal(positions.shape, dtype=np.float32)
        batch = build_batch([test.graph(row) for row in batch_rows], numbers, device)
        terms = losses(
            model,
            batch,
            torch.from_numpy(positions).to(device),
            torch.from_numpy(levels[times[chosen]].astype(np.float32)).to(device),
            torch.from_numpy(noise).to(device),
        )
        remote += float(terms.remote)
        local += float(terms.local)
        atoms += terms.atoms
    return {"loss_total": (remote + local) / atoms, "loss_global": remote / atoms, "loss_local": local / atoms}


@torch.inference_mode()
def row_losses(
    model: GeoDiff, levels: npt.NDArray[np.float64], rows: Conformations, device: torch.device | str
) -> npt.NDArray[np.float64]:
    """The total loss of each conformation, mean over its atoms, (rows,), at `SCORE_LEVELS` evenly spaced noise levels.

    At each, the noise is taken with both signs, which cancels what is linear in it. It depends on the row's number
    alone: candidates for one row are compared with common random numbers.

    Args:
        model: the network.
        levels: the noise levels [timesteps].
        rows: the conformations.
        device: to compute on.
    """
    times = np.floor((np.arange(SCORE_LEVELS) + 0.5) / SCORE_LEVELS * len(levels)).astype(np.int64)
    found = np.zeros(len(rows))
    for begin in range(0, len(rows), BATCH):
        batch_rows = range(begin, min(begin + BATCH, len(rows)))
        generators = [
            np.random.default_rng(stream("molecule", f"noise of the score of row {row}")) for row in batch_rows
        ]
        numbers = np.concatenate([rows[row].atomic_numbers for row in batch_rows])
        positions = torch.from_numpy(np.concatenate([rows[row].coordinates for row in batch_rows])).to(device)
        batch = build_batch([rows.graph(row) for row in batch_rows], numbers, device)
        sizes = np.array([len(rows[row].atomic_numbers) for row in batch_rows])
        owner = np.repeat(np.arange(len(sizes)), sizes)
        for level in levels[times].astype(np.float32):
            drawn = [
                generator.standard_normal((size, 3), dtype=np.float32)
                for generator, size in zip(generators, sizes.tolist(), strict=True)
            ]
            noise = torch.from_numpy(np.concatenate(drawn)).to(device)
            at = torch.full((len(sizes),), float(level), device=device)
            for signed in (noise, -noise):
                remote, local = squared_errors(model, batch, positions, at, signed)
                of_atoms = (GLOBAL_WEIGHT * remote + LOCAL_WEIGHT * local).sum(dim=1).cpu().numpy().astype(np.float64)
                found[begin : begin + len(sizes)] += np.bincount(owner, of_atoms, len(sizes)) / sizes
    return found / (2 * SCORE_LEVELS)
