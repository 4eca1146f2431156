"""Rule generate: sample one part, a conformation of the same molecule for each real one.

Finished batches are kept until the part is evaluated: a killed sampling goes on from them.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from selfloop.domains.molecule.config import Sampling
from selfloop.domains.molecule.data.conformations import Conformation, read_conformations, write_conformations
from selfloop.domains.molecule.model.checkpoint import load_checkpoint
from selfloop.domains.molecule.model.sampler import sample
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams
from selfloop.training.devices import note, prepare_torch
from selfloop.training.slices import of_part


class Params(StepParams):
    """What the step takes of its params."""

    sampling: Sampling
    streams: str
    iteration: int
    part: int
    state: str | None = None


def run(job: Job[Params]) -> None:
    """Sample from `job.input.checkpoint`; non-finite samples are dropped and counted.

    Raises:
        UserError: no sample is finite.
    """
    device = prepare_torch(job.threads, job.gpus)
    note(job, device, torch.float32)
    real = read_conformations(Path(job.input["real"]))
    checkpoint = Path(job.input["checkpoint"])
    model, config = load_checkpoint(checkpoint, str(device))
    rows = range(len(real))
    sampling = job.params.sampling
    finished = of_part(job, job.params.state, -(-len(real) // sampling.batch_size))
    if kept := finished.among(rows[:: sampling.batch_size]):
        job.log.info("resuming: %d batches of %d conformations have been sampled before", kept, sampling.batch_size)
    with job.progress(desc="sample", total=len(real), unit="conformation") as bar:
        samples, again = sample(
            model, config, sampling, real, rows, job.params.streams, bar.update, str(device), finished
        )
    finite = [row for row in rows if np.isfinite(samples[row]).all()]
    job.log.info(
        "%d conformations sampled; %d needed a second attempt with clipped local forces; %d non-finite ones dropped",
        len(samples), int(again.sum()), len(samples) - len(finite),
    )  # fmt: skip
    if not finished.reused:
        job.did(len(samples), "conformations")
    if not finite:
        raise UserError(f"{checkpoint} sampled no conformation that is finite; the model has not learnt.")

    def sampled() -> Iterator[Conformation]:
        for row in finite:
            molecule = real[row]
            yield Conformation(molecule.name, molecule.smiles, molecule.atomic_numbers, molecule.bonds, samples[row])

    part = job.params.part
    write_conformations(sampled(), Path(job.output["part"]), job.params.iteration, part, finite)
