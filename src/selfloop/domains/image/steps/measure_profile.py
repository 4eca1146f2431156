"""Rule measure_profile: how the sampled images of one seed's chains differ from real ones that no chain sees."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from selfloop.data.profile_rows import Params, rows, write_profile
from selfloop.data.shards import count_rows, iterate_rows, shard_paths
from selfloop.domains.image.data import image_store
from selfloop.domains.image.profile import MOST_IMAGES, Images, Mirror, Sampled
from selfloop.identity import stream
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Compare each part with the real test images, and with the part before it."""
    mirror = Mirror(*(drawn(Path(job.input[split]), MOST_IMAGES, job.threads) for split in ("train", "test")))

    @lru_cache(maxsize=4)  # the part before is measured before
    def sampled(part: str) -> Sampled:
        return mirror.of_images(drawn(Path(part), MOST_IMAGES, job.threads))

    def measured() -> Iterator[dict[str, object]]:
        for link in job.params.links:
            found = sampled(link.part)
            values = dict(mirror.of(found))
            if link.previous is not None:
                values |= mirror.carried(sampled(link.previous), found)
            yield from rows(link, values, mirror.itself)

    write_profile(job, measured())


def drawn(folder: Path, most: int, threads: int) -> Images:
    """A random subset of a data set's images, at most this many: neighbours may show the same person."""
    count = count_rows(folder)
    order = np.random.default_rng([stream("image profile", "rows"), count]).permutation(count)[:most]
    chosen, seen = np.sort(order), 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal seen
        for batch in iterate_rows(shard_paths(folder), ["image"], image_store.ROWS_PER_GROUP):
            inside = chosen[(chosen >= seen) & (chosen < seen + batch.num_rows)] - seen
            seen += batch.num_rows
            yield batch.take(inside)

    images = image_store.in_memory(batches(), str(folder), threads)
    return images[np.searchsorted(chosen, order)]
