"""Rule evaluate_part: the spread of one sampled data set beside that of the real train images.

At most `MAX_IMAGES` of each are compared, subsampled by seed. What tells more is in the profile, beside images that no
model is trained on.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from selfloop.data.measurements import PartParams as Params
from selfloop.data.measurements import write_measurements
from selfloop.data.shards import count_rows, iterate_rows, shard_paths
from selfloop.domains.image.data import image_store
from selfloop.domains.image.metrics import space_of, spread
from selfloop.identity import stream
from selfloop.jobs.job import Job

MAX_IMAGES = 5_000
MAX_FOR_SPACE = 2_000
PURPOSE = "image features"  # the same draws for all data sets of a size


def run(job: Job[Params]) -> None:
    """Spread in the space of the real images."""
    real, sampled = (_drawn(Path(job.input[name]), job.threads) for name in ("real", "part"))
    space = space_of(real[:MAX_FOR_SPACE])
    of_real, of_sampled = space.features(real), space.features(sampled)
    job.log.info(
        "%d sampled and %d real images compared in %d principal components, with %.1f%% of the real images' variance",
        len(sampled), len(real), of_real.shape[1], 100 * space.variance,
    )  # fmt: skip
    write_measurements(job, {"synthetic": spread(of_sampled, of_real)}, job.params.part)


def _drawn(folder: Path, threads: int) -> np.ndarray:
    """At most `MAX_IMAGES` images of a data set in random order, uint8 [rows, bands, size, size]."""
    count = count_rows(folder)
    order = np.random.default_rng([stream(PURPOSE, "rows"), count]).permutation(count)[:MAX_IMAGES]
    chosen = np.sort(order)
    seen = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal seen
        for batch in iterate_rows(shard_paths(folder), ["image"], image_store.ROWS_PER_GROUP):
            inside = chosen[(chosen >= seen) & (chosen < seen + batch.num_rows)] - seen
            seen += batch.num_rows
            yield batch.take(inside)

    images = image_store.in_memory(batches(), str(folder), threads)
    return images[np.searchsorted(chosen, order)]
