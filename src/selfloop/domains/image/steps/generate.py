"""Rule generate: sample one part, as many images as the real train split has.

Several processes (one per GPU) may share a part: each samples consecutive blocks, and the part does not
depend on their number. Finished blocks are kept until the part is evaluated: a killed sampling resumes from them.
"""

from pathlib import Path

import torch

from selfloop.data.shards import ShardWriter, count_rows
from selfloop.domains.image.config import Sampling
from selfloop.domains.image.data.image_store import ROWS_PER_GROUP, SCHEMA
from selfloop.domains.image.model.checkpoint import load_checkpoint
from selfloop.domains.image.model.sampler import BLOCK, encoded, sample, share
from selfloop.jobs.job import Job, StepParams
from selfloop.training.devices import compute_dtype, note, prepare_torch
from selfloop.training.distributed import ProcessGroup, process_group, rank_folder
from selfloop.training.slices import of_part


class Params(StepParams):
    """What the step takes of its params."""

    sampling: Sampling
    precision: str
    streams: str
    iteration: int
    part: int
    state: str | None = None


def run(job: Job[Params]) -> None:
    """Sample from the prior of `job.input.checkpoint`."""
    device = prepare_torch(job.threads, job.gpus)
    with process_group(device) as group, rank_folder(Path(job.output["part"]), group) as folder:
        sample_share(job, group, device, folder)


def sample_share(job: Job[Params], group: ProcessGroup, device: torch.device, folder: Path) -> None:
    """Write this rank's images of the part to an existing folder."""
    count = count_rows(Path(job.input["real"]))
    dtype = compute_dtype(job.params.precision, device)
    note(job, device, dtype)
    model, _ = load_checkpoint(Path(job.input["checkpoint"]), dtype, str(device))
    origin = {"iteration": job.params.iteration, "part": job.params.part}
    finished = of_part(job, job.params.state, -(-count // BLOCK))
    first, end = (block * BLOCK for block in share(count, group))
    if kept := finished.among(range(first, end, BLOCK)):
        job.log.info("resuming: %d blocks of %d images have been sampled before", kept, BLOCK)
    blocks = sample(model, count, job.params.sampling.temperature, job.params.streams, device, group, finished)
    with (
        job.progress(desc="sample", unit=" images", unit_scale=True) as bar,
        ShardWriter(folder, SCHEMA, rows_per_group=ROWS_PER_GROUP) as writer,
    ):
        for row, data in enumerate(encoded(blocks, bar.update), start=first):
            writer.append({"image": {"bytes": data}, "row": row, **origin})
    if not finished.reused:
        job.did(count, "images")
    job.log.info("%d of %d images sampled by process %d of %d", writer.rows, count, group.rank + 1, group.size)
