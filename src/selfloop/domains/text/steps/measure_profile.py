"""Rule measure_profile: how the sampled documents of one seed's chains differ from real ones that no chain sees."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from selfloop.data.profile_rows import Link, Params, kept, rows, write_profile
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.config import Sampling
from selfloop.domains.text.data.token_store import COLUMNS, TokenStore
from selfloop.domains.text.model.checkpoint import load_model
from selfloop.domains.text.profile.documents import Documents, Mirror, documents, without_prompts
from selfloop.jobs.job import Job
from selfloop.training.devices import prepare_torch

MOST_DOCUMENTS = 2_000  # real ones; of a part as many, and as many more to fill up with tokens


def run(job: Job[Params]) -> None:
    """Compare each part with the real test documents, and with the part before it."""
    device = prepare_torch(job.threads, job.gpus)
    first = load_model(Path(job.input["first"]), device=str(device))
    tokenizer = Tokenizer.from_file(str(Path(job.input["first"], "tokenizer.json")))

    def read(folder: str, most: int, sampling: Sampling | None = None) -> Documents:
        batches = _first_rows(Path(folder), most)
        store = TokenStore.in_memory(batches, first.context, first.marks)
        return documents(store if sampling is None else without_prompts(store, sampling), tokenizer)

    train = read(job.input["train"], MOST_DOCUMENTS).text
    counts = np.bincount(train.tokens, minlength=first.vocabulary)
    mirror = Mirror(read(job.input["test"], MOST_DOCUMENTS), first, device, counts)
    samplings = {link.part: Sampling.model_validate(link.sampling) for link in job.params.links}

    @lru_cache(maxsize=4)  # the part before is measured before
    def sampled(part: str) -> Documents:
        return read(part, 2 * MOST_DOCUMENTS, samplings[part])

    def values(link: Link) -> Iterator[dict[str, object]]:
        found = sampled(link.part)
        if len(found.text) < 2 * mirror.size:
            job.log.info("%s has %d tokens, and real text twice %d", link.part, len(found.text), mirror.size)
        measured = dict(mirror.of(found))
        if link.previous is not None:
            measured |= mirror.carried(sampled(link.previous), found)
        checkpoint = kept(job, link)
        if checkpoint is not None:
            model = load_model(checkpoint, device=str(device))
            measured |= mirror.of_model(model, found, samplings[link.part])
        return rows(link, measured, mirror.itself)

    write_profile(job, (row for link in job.params.links for row in values(link)))


def _first_rows(folder: Path, most: int) -> Iterator[pa.RecordBatch]:
    """The first rows of a data set: samples have no order, and shards are not read to their end."""
    for batch in iterate_rows(shard_paths(folder), COLUMNS, most):
        yield batch.slice(0, most)
        most -= batch.num_rows
        if most <= 0:
            return
