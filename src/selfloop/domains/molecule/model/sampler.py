"""Sampling conformations of given molecules: annealed Langevin dynamics (Xu et al. 2022, and the authors' code).

Which of the T noise levels are visited is the schedule's choice:

    strided    n levels spread evenly from the noisiest to the finest
    noisiest   the n noisiest ones, one by one, which is what the original code does with fewer steps than T: sampling
               ends at a noise level of some Å, and so the samples are noise still
    all        all T

Every conformation draws its noise from a stream of its own, so a sample does not depend on those beside it in a batch,
but for rounding in the last digits.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from selfloop.domains.molecule.config import Model, Sampling
from selfloop.domains.molecule.data.conformations import Conformations, Floats
from selfloop.domains.molecule.data.graph import Batch, Pairs, build_batch, pairs_within
from selfloop.domains.molecule.model.network import GeoDiff, forces
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.identity import stream

UNIT = 0.01  # Å; a level's step size is step_size · (sigma / UNIT)²
LOCAL_CLIP = 20.0  # of local forces, where a first attempt came to coordinates that are not finite
NOISE_AHEAD = 64  # steps whose noise is drawn at once


def visited(schedule: str, steps: int | None, timesteps: int) -> list[int]:
    """The times that a schedule visits, in order: from the noisiest to the finest.

    Args:
        schedule: "strided", "noisiest" or "all".
        steps: how many; None or anything for all.
        timesteps: T.
    """
    if schedule == "all" or steps is None:
        return list(range(timesteps - 1, -1, -1))
    if schedule == "noisiest":
        return list(range(timesteps - 1, timesteps - 1 - steps, -1))
    if schedule == "strided":
        return [round(time) for time in np.linspace(timesteps - 1, 0, steps)]
    raise ValueError(f"unknown schedule {schedule}")


class _Noise:
    """Standard normal numbers, [atoms of all, 3] per step, each molecule's from its own generator."""

    def __init__(self, seeds: Sequence[int], sizes: Sequence[int], device: str) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.sizes, self.device = sizes, device
        self._ahead: list[Tensor] = []

    def __call__(self) -> Tensor:
        if not self._ahead:
            drawn = [
                torch.randn(NOISE_AHEAD, size, 3, generator=generator)
                for generator, size in zip(self.generators, self.sizes, strict=True)
            ]
            self._ahead = list(torch.cat(drawn, dim=1).to(self.device).flip(0).unbind())
        return self._ahead.pop()


@torch.inference_mode()
def sample(
    model: GeoDiff,
    config: Model,
    sampling: Sampling,
    molecules: Conformations,
    rows: Sequence[int],
    identity: str,
    progress: Callable[[int], Any] = lambda _: None,
    device: str = "cpu",
) -> tuple[list[Floats], npt.NDArray[np.bool_]]:
    """One conformation for each of `rows`, an index into `molecules` whose coordinates are not looked at.

    A molecule whose coordinates stop being finite is sampled once more, with local forces clipped, as in the original.

    Args:
        model: the network.
        config: its `model` section.
        sampling: an entry of the config's `sampling`.
        molecules: where the molecules stand.
        rows: which of them; one that stands there twice gets two samples.
        identity: names the random streams, one per place in `rows`.
        progress: told how many conformations have been sampled since it was last told.
        device: where to compute.

    Returns:
        coordinates [atoms, 3] in Å around the origin, for each of `rows`; they may still not be finite. And which of
        them needed the second attempt.
    """
    levels = sigmas(config)
    times = visited(sampling.schedule, sampling.steps, config.timesteps)
    size = sampling.batch_size
    samples: list[Floats] = []
    seeds = [stream(identity, f"conformation {place}") for place in range(len(rows))]

    def run(places: Sequence[int], clip_local: float | None) -> list[Floats]:
        chosen = [rows[place] for place in places]
        graphs = [molecules.graph(row) for row in chosen]
        numbers = np.concatenate([molecules[row].atomic_numbers for row in chosen])
        batch = build_batch(graphs, numbers, device)
        sizes = [graph.atoms for graph in graphs]
        noise = _Noise([seeds[place] for place in places], sizes, device)
        positions = noise() * float(levels[-1])
        counts = torch.tensor(sizes, device=device, dtype=positions.dtype).unsqueeze(1)
        for time in times:
            positions = _step(model, sampling, batch, positions, float(levels[time]), noise(), clip_local)
            centres = positions.new_zeros((batch.molecules, 3)).index_add_(0, batch.molecule, positions) / counts
            positions = positions - centres.index_select(0, batch.molecule)
        return [each.numpy() for each in torch.split(positions.cpu(), sizes)]

    for begin in range(0, len(rows), size):
        places = range(begin, min(begin + size, len(rows)))
        samples += run(places, None)
        progress(len(places))
    failed = np.array([not np.isfinite(each).all() for each in samples], dtype=bool)
    again = [int(place) for place in np.flatnonzero(failed)]
    for begin in range(0, len(again), size):
        places_again = again[begin : begin + size]
        for place, better in zip(places_again, run(places_again, LOCAL_CLIP), strict=True):
            samples[place] = better
    return samples, failed


def _step(
    model: GeoDiff,
    sampling: Sampling,
    batch: Batch,
    positions: Tensor,
    sigma: float,
    noise: Tensor,
    clip_local: float | None,
) -> Tensor:
    """One step of Langevin dynamics at a noise level; the global forces join where noise is low."""
    atoms = len(positions)
    join = sigma < sampling.global_below
    pairs = pairs_within(batch, positions, model.shape.cutoff if join else -1.0)
    n = pairs.local
    push = _forces(model.local_scores(batch, pairs), pairs, slice(0, n), atoms)
    if clip_local is not None:
        push = clip(push, clip_local)
    if join:
        remote = _forces(model.global_scores(batch, pairs), pairs, slice(n, None), atoms)
        push = push + sampling.global_weight * clip(remote, sampling.clip)
    size = sampling.step_size * (sigma / UNIT) ** 2
    moved: Tensor = positions + push * (size / sigma) + noise * math.sqrt(2 * size)
    return moved


def _forces(scores: Tensor, pairs: Pairs, chosen: slice, atoms: int) -> Tensor:
    return forces(scores, pairs.first[chosen], pairs.second[chosen], pairs.units[chosen], atoms)


def clip(vectors: Tensor, limit: float) -> Tensor:
    """Shorten the vectors [n, 3] that are longer than `limit`."""
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors * torch.where(norms > limit, limit / norms, torch.ones_like(norms))
