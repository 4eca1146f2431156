"""Throughput of training and sampling on this machine: trains on random images, and samples from what comes out."""

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from selfloop.domains.image.config import Data, Model, Sampling, Training
from selfloop.domains.image.cost import forward_flops
from selfloop.domains.image.model.network import Shape, build
from selfloop.domains.image.model.sampler import BLOCK, encoded, sample
from selfloop.domains.image.steps.train import ImageTask
from selfloop.training.devices import compute_dtype, prepare_torch
from selfloop.training.loop import fit
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.malloc import keep_freed_memory
from selfloop.training.resume import ResumeCheckpoint
from selfloop.training.speed import ThroughputMeter, TimeUp, usable_threads

STEPS = 1_000  # at most
SECONDS = 1.5  # of either


def measure_speed(
    data: Data, model: Model, training: Training, sampling: Sampling, units: float, threads: int | None = None
) -> tuple[float, float]:
    """FLOP/s of training and sampling, counted as in `effort`.

    Args:
        data, model, training, sampling: the experiment's sections.
        units: images per row, which is 1.
        threads: CPU threads; None for all.
    """
    threads = usable_threads(threads)
    device = prepare_torch(threads)
    keep_freed_memory()
    shape = Shape.of(data.size, data.color, model)
    encoder, decoder = forward_flops(data, model)
    size = (training.batch_size, shape.bands, data.size, data.size)
    images = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    training = training.changed(epochs=None, steps=STEPS, evaluations=1, schedule="constant", learning_rate=1e-5)
    network = build(shape, 0)
    meter = ThroughputMeter(SECONDS, threads)
    with tempfile.TemporaryDirectory() as folder, suppress(TimeUp):
        task = ImageTask(images, images, training, shape.latent, "speed", device)
        fit(network, task, OptimizerConfig.of(training), ResumeCheckpoint(Path(folder), "", 3600.0), device, meter)
    trained = meter.units_per_second() * 3 * training.batch_size * (encoder + decoder)
    network = network.eval().to(compute_dtype(training.precision, device))
    meter = ThroughputMeter(SECONDS, threads)
    with suppress(TimeUp):
        for _ in encoded(sample(network, STEPS * BLOCK, sampling.temperature, "speed", device), meter.update):
            pass
    return trained, meter.units_per_second() * decoder
