"""Rule generate: sample one part, as many images as the real train split has.

Several processes (one per GPU, under torchrun) may share a part: each samples a run of its blocks, and the part is the
same, whatever their number.
"""

import shutil
from pathlib import Path

import torch

from selfloop.data.atomic import whole_folder
from selfloop.data.shards import ShardWriter, count_rows, join_shards
from selfloop.domains.image.data.pictures import ROWS_PER_GROUP, SCHEMA
from selfloop.domains.image.model.checkpoint import load_checkpoint
from selfloop.domains.image.model.sampler import BLOCK, encoded, sample, share
from selfloop.jobs.job import Job
from selfloop.training.devices import choose_precision, prepare_torch
from selfloop.training.distributed import Group, joined


def run(job: Job) -> None:
    """Sample from the prior of `job.input.checkpoint`."""
    device = prepare_torch(job.threads, job.gpus)
    with joined(device) as group:
        part = Path(job.output["part"])
        if group.size == 1:
            with whole_folder(part) as scratch:
                sample_share(job, group, device, scratch)
            return
        shares = [part.with_name(f"{part.name}.share{rank}") for rank in range(group.size)]
        try:
            shutil.rmtree(shares[group.rank], ignore_errors=True)
            shares[group.rank].mkdir(parents=True)
            sample_share(job, group, device, shares[group.rank])
            group.wait()
            if group.leads:
                with whole_folder(part) as scratch:
                    join_shards(shares, scratch)
            group.wait()
        finally:
            shutil.rmtree(shares[group.rank], ignore_errors=True)


def sample_share(job: Job, group: Group, device: torch.device, folder: Path) -> None:
    """Write this process's run of the part's images to an existing folder."""
    count = count_rows(Path(job.input["real"]))
    job.did(count, "images")
    precision = choose_precision(job.params["precision"], device)
    model, _ = load_checkpoint(Path(job.input["checkpoint"]), precision, str(device))
    place = {"iteration": job.params["iteration"], "part": job.params["part"]}
    blocks = sample(model, count, job.params["sampling"]["temperature"], job.params["identity"], device, group)
    first = share(count, group)[0] * BLOCK
    with (
        job.progress(desc="sample", unit=" images", unit_scale=True) as bar,
        ShardWriter(folder, SCHEMA, rows_per_group=ROWS_PER_GROUP) as writer,
    ):
        for row, data in enumerate(encoded(blocks, bar.update), start=first):
            writer.append({"image": {"bytes": data}, "row": row, **place})
    job.log.info("%d of %d images sampled by process %d of %d", writer.rows, count, group.rank + 1, group.size)
