"""Rule generate: sample one part, a conformation of the same molecule for each real one.

Finished batches are kept until the part is evaluated: a killed sampling resumes from them. Several processes (one per
GPU) may share a part: each samples consecutive batches, and the part does not depend on their number.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from selfloop.domains.molecule.config import Sampling
from selfloop.domains.molecule.data.conformations import Conformation, read_conformations, write_shards
from selfloop.domains.molecule.model.checkpoint import load_checkpoint
from selfloop.domains.molecule.model.sampler import sample, share
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams
from selfloop.training.devices import note, prepare_torch
from selfloop.training.distributed import ProcessGroup, process_group, rank_folder
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
    with process_group(device) as group, rank_folder(Path(job.output["part"]), group) as folder:
        counts = sample_share(job, group, device, folder).to(device)  # NCCL reduces tensors on the GPU only
        group.all_reduce(counts)
        sampled, again, finite = counts.tolist()
        job.log.info(
            "%d conformations sampled; %d needed a second attempt with clipped local forces; "
            "%d non-finite ones dropped",
            sampled, again, sampled - finite,
        )  # fmt: skip
        if not finite:
            raise UserError(
                f"{job.input['checkpoint']} sampled no conformation that is finite; the model has not learnt."
            )


def sample_share(job: Job[Params], group: ProcessGroup, device: torch.device, folder: Path) -> torch.Tensor:
    """Write this rank's conformations of the part to an existing folder.

    Returns:
        int64 [3]: conformations, those that needed a second attempt, and those that are finite.
    """
    real = read_conformations(Path(job.input["real"]))
    model, config = load_checkpoint(Path(job.input["checkpoint"]), str(device))
    sampling = job.params.sampling
    own = share(len(real), sampling.batch_size, group)
    finished = of_part(job, job.params.state, -(-len(real) // sampling.batch_size))
    if kept := finished.among(own[:: sampling.batch_size]):
        job.log.info("resuming: %d batches of %d conformations have been sampled before", kept, sampling.batch_size)
    with job.progress(desc="sample", total=len(own), unit="conformation") as bar:
        samples, again = sample(
            model,
            config,
            sampling,
            real,
            range(len(real)),
            job.params.streams,
            bar.update,
            str(device),
            finished,
            group,
        )
    if not finished.reused:
        job.did(len(real), "conformations")
    finite = {row: points for row, points in zip(own, samples, strict=True) if np.isfinite(points).all()}

    def sampled() -> Iterator[Conformation]:
        for row, points in finite.items():
            molecule = real[row]
            yield Conformation(molecule.name, molecule.smiles, molecule.atomic_numbers, molecule.bonds, points)

    write_shards(sampled(), folder, job.params.iteration, job.params.part, list(finite))
    return torch.tensor([len(samples), int(again.sum()), len(finite)])
