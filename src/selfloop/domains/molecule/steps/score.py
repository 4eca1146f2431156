"""Rule score: energy or broken bonds of each conformation, its loss by a referee, and what all domains have."""

from pathlib import Path

import numpy as np
import torch

from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.molecule.data.conformations import Conformations, read_conformations
from selfloop.domains.molecule.data.energy import energy
from selfloop.domains.molecule.metrics import broken_bonds
from selfloop.domains.molecule.model.checkpoint import load_checkpoint
from selfloop.domains.molecule.model.loss import row_losses
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.jobs.job import Job
from selfloop.scoring.detector import Floats
from selfloop.scoring.scores import ScoreParams as Params
from selfloop.scoring.scores import checkpoint_of, score_part
from selfloop.training.devices import note, prepare_torch

FARTHEST = 8.0  # Å, of the histogram of distances
BINS = 80


def run(job: Job[Params]) -> None:
    """Write the score of every conformation."""
    score_part(job, _features, lambda: _own(job))


def _own(job: Job[Params]) -> Floats:
    """By `job.params.scorer`, but for `oracle` against the real conformation that a row was sampled for.

    `broken-bonds`: minus their number; `energy`: minus the energy above the real one's, kcal/mol per atom; `oracle`:
    minus the referee's denoising loss, global and local.
    """
    folder = Path(job.input["part"])
    sampled = read_conformations(folder)
    if job.params.scorer.by == "oracle":
        device = prepare_torch(job.threads, job.gpus)
        note(job, device, torch.float32)
        model, config = load_checkpoint(checkpoint_of(job), str(device))
        return -row_losses(model, sigmas(config), sampled, device)
    real = read_conformations(Path(job.input["real"]))
    rows = np.concatenate([batch.column("row").to_numpy() for batch in iterate_rows(shard_paths(folder), ["row"])])
    if job.params.scorer.by == "broken-bonds":
        return np.array([-broken_bonds(sampled[place], real[row]) for place, row in enumerate(rows)], dtype=np.float64)
    energies = [
        energy(real[row], real[row].coordinates, sampled[place].coordinates) for place, row in enumerate(rows.tolist())
    ]
    return np.array(
        [-(of - least) / len(real[row].atomic_numbers) for (least, of), row in zip(energies, rows, strict=True)]
    )


def _features(folder: Path) -> Floats:
    """The histogram of each conformation's distances between atoms, per atom, and quantiles of its bond lengths."""
    found: Conformations = read_conformations(folder)
    rows = []
    for place in range(len(found)):
        points, bonds = found[place].coordinates, found[place].bonds
        one, other = np.triu_indices(len(points), 1)
        distances = np.linalg.norm(points[one] - points[other], axis=1)
        lengths = np.linalg.norm(points[bonds[:, 0]] - points[bonds[:, 1]], axis=1)
        counts = np.histogram(distances, BINS, (0.0, FARTHEST))[0] / len(points)
        rows.append([*counts, *np.quantile(lengths, [0.0, 0.25, 0.5, 0.75, 1.0])])
    return np.array(rows)
