"""Rule prepare_data: the real images, cropped and resized, as Parquet, in a train and a test split."""

import hashlib
from itertools import combinations
from pathlib import Path

from selfloop.data.atomic import atomic_folder
from selfloop.data.contents import unchanged
from selfloop.data.shards import ShardWriter, no_validation
from selfloop.domains.image.config import Data
from selfloop.domains.image.data import sources
from selfloop.domains.image.data.conversion import Tally, converted
from selfloop.domains.image.data.image_store import ROWS_PER_GROUP, SCHEMA, encode_png
from selfloop.domains.image.data.readers import ImageFiles
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    data: Data
    contents: str | None = None


def run(job: Job[Params]) -> None:
    """Read the source that `job.params.data` names, and write the splits."""
    data = job.params.data
    with unchanged(job.params.contents, lambda: sources.input_files(data)):
        seen: dict[str, set[bytes]] = {}
        for name, split in zip((*sources.SPLITS, "reserve"), sources.splits(data, job.log.info), strict=True):
            if split is not None:
                seen[name] = _write(name, split, data, Path(job.output[name]), job)
            elif name in job.output:
                no_validation(Path(job.output[name]), SCHEMA)
    for known, name in combinations(seen, 2):
        twice = len(seen[known] & seen[name])
        if twice:
            text = "warning: %d %s images are in the %s split too, pixel for pixel; they are kept"
            job.log.info(text, twice, name, known)


def _write(name: str, images: ImageFiles, data: Data, folder: Path, job: Job[Params]) -> set[bytes]:
    """Write one split; returns a digest of every image."""
    tally, digests = Tally(), set()
    with atomic_folder(folder) as scratch, ShardWriter(scratch, SCHEMA, rows_per_group=ROWS_PER_GROUP) as writer:
        row = 0
        for kept, pixels in converted(images, data, job.threads, tally):
            for index, image, content in zip(kept, pixels, encode_png(pixels), strict=True):
                digests.add(hashlib.blake2b(image.tobytes(), digest_size=8).digest())
                person = None if images.persons is None else images.persons[index]
                place = {"iteration": 0, "part": 0, "row": row}
                writer.append({"image": {"bytes": content, "path": images.names[index]}, "person": person, **place})
                row += 1
        if row == 0:
            raise UserError(f"{images.where} has no image for the {name} split: {len(tally.broken)} are broken.")
    for line in tally.lines(name):
        job.log.info("%s", line)
    if images.persons is not None:
        job.log.info("%s: %d persons", name, len(set(images.persons)))
    if len(digests) < row:
        job.log.info(
            "%s: %d images are copies of another one, pixel for pixel; they are kept", name, row - len(digests)
        )
    return digests
