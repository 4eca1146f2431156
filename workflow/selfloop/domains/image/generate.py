"""Rule generate: sample one part, as many images as the real train split has."""

from pathlib import Path

from selfloop.devices import choose_precision, prepare_torch
from selfloop.domains.image.checkpoint import load_checkpoint
from selfloop.domains.image.pictures import ROWS_PER_GROUP, SCHEMA
from selfloop.domains.image.sampler import encoded, sample
from selfloop.job import Job
from selfloop.shards import ShardWriter, count_rows
from selfloop.whole import whole_folder


def run(job: Job) -> None:
    """Sample from the prior of `job.input.checkpoint`."""
    device = prepare_torch(job.threads)
    count = count_rows(Path(job.input["real"]))
    model, _ = load_checkpoint(
        Path(job.input["checkpoint"]), choose_precision(job.params["precision"], device), str(device)
    )
    place = {"iteration": job.params["iteration"], "part": job.params["part"]}
    blocks = sample(model, count, job.params["sampling"]["temperature"], job.params["identity"], device)
    with (
        job.progress(desc="sample", unit=" images", unit_scale=True) as bar,
        whole_folder(Path(job.output["part"])) as scratch,
        ShardWriter(scratch, SCHEMA, rows_per_group=ROWS_PER_GROUP) as writer,
    ):
        for row, data in enumerate(encoded(blocks, bar.update)):
            writer.append({"image": {"bytes": data}, "row": row, **place})
    job.log.info("%d images sampled", count)
