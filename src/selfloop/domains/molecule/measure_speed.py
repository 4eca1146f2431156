"""Throughput of training and sampling on this machine: trains on chains of carbon, and samples them."""

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from selfloop.domains.molecule.config import Data, Model, Sampling, Training
from selfloop.domains.molecule.cost import ATOMS, forward_flops
from selfloop.domains.molecule.data.conformations import Conformations
from selfloop.domains.molecule.model.network import build
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.domains.molecule.model.sampler import sample
from selfloop.domains.molecule.steps.train import ConformationTask
from selfloop.training.devices import prepare_torch
from selfloop.training.loop import fit
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.resume import ResumeCheckpoint
from selfloop.training.speed import ThroughputMeter, TimeUp, usable_threads

STEPS = 1_000  # at most
SECONDS = 1.5  # of either
VISITED = 4  # noise levels, evenly spaced as those of a whole sampling
CARBON, HYDROGEN, SINGLE = 6, 1, 1
BOND = 1.5  # Å


def measure_speed(
    data: Data, model: Model, training: Training, sampling: Sampling, units: float, threads: int | None = None
) -> tuple[float, float]:
    """FLOP/s of training and sampling, counted as in `effort`.

    Args:
        data, model, training, sampling: the experiment's sections.
        units: conformations per row, which is 1.
        threads: CPU threads; None for all.
    """
    threads = usable_threads(threads)
    device = prepare_torch(threads)
    atoms = int(min(ATOMS, data.max_atoms or ATOMS))
    forward = forward_flops(model, atoms)
    chains = _chains(atoms, training.batch_size)
    training = training.changed(steps=STEPS, evaluations=1, schedule="constant", learning_rate=1e-6)
    network, levels = build(model, 0), sigmas(model)
    meter = ThroughputMeter(SECONDS, threads)
    with tempfile.TemporaryDirectory() as folder, suppress(TimeUp):
        task = ConformationTask(chains, chains, levels, STEPS, training.batch_size, 0, device)
        fit(network, task, OptimizerConfig.of(training), ResumeCheckpoint(Path(folder), "", 3600.0), device, meter)
    trained = meter.units_per_second() * 3 * training.batch_size * forward
    visited = sampling.steps if sampling.schedule == "noisiest" else VISITED
    sampling = sampling.changed(steps=visited, schedule="noisiest" if sampling.schedule == "noisiest" else "strided")
    chains = _chains(atoms, sampling.batch_size)
    meter = ThroughputMeter(SECONDS, threads)
    with suppress(TimeUp):
        rows = list(range(len(chains))) * STEPS
        sample(network.eval(), model, sampling, chains, rows, "speed", meter.update, str(device))
    return trained, meter.units_per_second() * visited * forward


def _chains(atoms: int, count: int) -> Conformations:
    """`count` randomly coiled chains of carbon with hydrogens, of `atoms` atoms each."""
    carbons = max(1, (atoms - 2) // 3)
    numbers = np.full(max(2, atoms), HYDROGEN)
    numbers[:carbons] = CARBON
    chain = [(atom, atom + 1, SINGLE) for atom in range(carbons - 1)]
    bonds = np.array(chain + [(atom % carbons, atom, SINGLE) for atom in range(carbons, len(numbers))])
    steps = np.random.default_rng(0).standard_normal((count, len(numbers), 3))
    coordinates = BOND * steps.cumsum(1) / np.sqrt(3)
    return Conformations(
        ["chain"] * count,
        ["C"] * count,
        np.tile(numbers, count),
        coordinates.reshape(-1, 3).astype(np.float32),
        np.arange(count + 1) * len(numbers),
        [bonds],
        np.zeros(count, dtype=np.int64),
    )
