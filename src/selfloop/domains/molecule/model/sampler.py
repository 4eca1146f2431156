"""Sampling conformations of given molecules: annealed Langevin dynamics (Xu et al. 2022, and the authors' code).

The schedule selects which of the T noise levels are visited:

    strided    n levels evenly spaced from the highest to the lowest
    noisiest   the n highest ones, as the original code does with fewer steps than T: sampling ends at a noise level of
               some Å, so the samples are still noise
    all        all T

Every conformation has its own random stream, so a sample does not depend on the rest of its batch but for rounding.
"""

import math
from collections.abc import Callable, Sequence

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
from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup
from selfloop.training.slices import FinishedSlices, joined, split

UNIT = 0.01  # Å; step size at a level: step_size · (sigma / UNIT)²
LOCAL_CLIP = 20.0  # of local forces, in the second attempt after non-finite coordinates
NOISE_AHEAD = 64  # steps whose noise is prefetched


def visited_times(schedule: str, steps: int | None, timesteps: int) -> list[int]:
    """The times that a schedule visits, by descending noise.

    Args:
        schedule: "strided", "noisiest" or "all".
        steps: number of times; ignored by "all".
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
    """Standard normal [atoms of all, 3] per step, each molecule's from its own generator."""

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
    streams: str,
    progress: Callable[[int], object] = lambda _: None,
    device: str = "cpu",
    finished: FinishedSlices | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
) -> tuple[list[Floats], npt.NDArray[np.bool_]]:
    """Sample one conformation of the molecule at each of `rows`.

    A molecule whose coordinates become non-finite is sampled again with clipped local forces, as in the original.

    Args:
        model: the network.
        config: its `model` section.
        sampling: an entry of the config's `sampling`.
        molecules: their own coordinates are not used.
        rows: indices into `molecules`; a repeated one gets several samples.
        streams: see `identity.stream`; each entry of `rows` has one.
        progress: called with the number of newly sampled conformations.
        device: to compute on.
        finished: batches that an earlier attempt has sampled, and where to keep those of this one.
        group: the ranks that share `rows`; this one samples its `share` of them.

    Returns:
        centred coordinates [atoms, 3] in Å for each of this rank's `rows`, possibly still non-finite; and a mask of
        those that needed the second attempt.
    """
    levels = sigmas(config)
    times = visited_times(sampling.schedule, sampling.steps, config.timesteps)
    size = sampling.batch_size
    samples: list[Floats] = []
    seeds = [stream(streams, f"conformation {index}") for index in range(len(rows))]

    def sample_batch(indices: Sequence[int], clip_local: float | None) -> list[Floats]:
        chosen = [rows[index] for index in indices]
        graphs = [molecules.graph(row) for row in chosen]
        numbers = np.concatenate([molecules[row].atomic_numbers for row in chosen])
        batch = build_batch(graphs, numbers, device)
        sizes = [graph.atoms for graph in graphs]
        noise = _Noise([seeds[index] for index in indices], sizes, device)
        positions = noise() * float(levels[-1])
        counts = torch.tensor(sizes, device=device, dtype=positions.dtype).unsqueeze(1)
        for time in times:
            positions = _step(model, sampling, batch, positions, float(levels[time]), noise(), clip_local)
            centres = positions.new_zeros((batch.molecules, 3)).index_add_(0, batch.molecule, positions) / counts
            positions = positions - centres.index_select(0, batch.molecule)
        return [coordinates.numpy() for coordinates in torch.split(positions.cpu(), sizes)]

    finished = finished or FinishedSlices()

    def batch_at(place: int, indices: Sequence[int], clip_local: float | None) -> list[Floats]:
        """The samples of a batch; `place` tells batches apart."""
        if (saved := finished.load(place)) is not None:
            return split(saved)
        sampled = sample_batch(indices, clip_local)
        finished.save(place, joined(sampled))
        return sampled

    own = share(len(rows), size, group)
    failed = np.zeros(len(own), dtype=bool)
    for begin in range(own.start, own.stop, size):
        indices = range(begin, min(begin + size, own.stop))
        batch = batch_at(begin, indices, None)
        wrong = [place for place, coordinates in enumerate(batch) if not np.isfinite(coordinates).all()]
        if wrong:  # those of a batch together, whichever rank has it
            again = batch_at(len(rows) + begin, [indices[place] for place in wrong], LOCAL_CLIP)
            for place, coordinates in zip(wrong, again, strict=True):
                batch[place] = coordinates
                failed[len(samples) + place] = True
        samples += batch
        progress(len(indices))
    return samples, failed


def share(count: int, size: int, group: ProcessGroup) -> range:
    """The indices of `count` conformations that this rank samples: consecutive whole batches of `size`.

    The rounding of matrix products depends on the rest of the batch, so a part does not depend on the number of ranks.
    """
    batches = -(-count // size)
    first, end = (batches * rank // group.size for rank in (group.rank, group.rank + 1))
    return range(first * size, min(end * size, count))


def _step(
    model: GeoDiff,
    sampling: Sampling,
    batch: Batch,
    positions: Tensor,
    sigma: float,
    noise: Tensor,
    clip_local: float | None,
) -> Tensor:
    """One step of Langevin dynamics at a noise level; global forces act below `global_below` only."""
    atoms = len(positions)
    with_global = sigma < sampling.global_below
    pairs = pairs_within(batch, positions, model.shape.cutoff if with_global else None)
    n = pairs.local
    push = _forces(model.local_scores(batch, pairs), pairs, slice(0, n), atoms)
    if clip_local is not None:
        push = clip(push, clip_local)
    if with_global:
        remote = _forces(model.global_scores(batch, pairs), pairs, slice(n, None), atoms)
        push = push + sampling.global_weight * clip(remote, sampling.clip)
    size = sampling.step_size * (sigma / UNIT) ** 2
    moved: Tensor = positions + push * (size / sigma) + noise * math.sqrt(2 * size)
    return moved


def _forces(scores: Tensor, pairs: Pairs, chosen: slice, atoms: int) -> Tensor:
    return forces(scores, pairs.first[chosen], pairs.second[chosen], pairs.units[chosen], atoms)


def clip(vectors: Tensor, limit: float) -> Tensor:
    """Clip the vectors [n, 3] to the norm `limit`."""
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors * torch.where(norms > limit, limit / norms, torch.ones_like(norms))
