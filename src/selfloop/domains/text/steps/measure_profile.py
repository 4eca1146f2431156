"""Rule measure_profile: how the sampled documents of one seed's chains differ from real ones that no chain sees."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from selfloop.data.profile_rows import Params, rows, write_profile
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.data.tokenizer import OWN_MARKS, Marks, marks_of, vocabulary_size
from selfloop.domains.text.model.checkpoint import context_of
from selfloop.domains.text.profile.measures import Halves, Real, halves, pieces
from selfloop.domains.text.profile.ngram import text_of
from selfloop.jobs.job import Job

MOST_DOCUMENTS = 4_000  # read of a data set, the first ones


def run(job: Job[Params]) -> None:
    """Compare each part with the real test documents, and with the part before it."""
    first = Path(job.input["first"])
    context, marks = context_of(first), marks_of(first)
    real = Real(halves(text_of(_read(job.input["test"], context, marks))), vocabulary_size(first))
    size = len(real.halves[0])

    @lru_cache(maxsize=4)  # the part before is the one that was measured last, or model 1's
    def sampled(part: str) -> Halves:
        text = text_of(_read(part, context, marks))
        if len(text) < 2 * size:
            job.log.info("%s has %d tokens, and real text twice %d", part, len(text), size)
        return pieces(text, size)

    def measured() -> Iterator[dict[str, object]]:
        for link in job.params.links:
            text = sampled(link.part)
            values = dict(real.measures(text))
            if link.previous is not None:
                values |= real.carried(sampled(link.previous), text)
            yield from rows(link, values, real.itself)

    write_profile(job, measured())


def _read(folder: str, context: int, marks: Marks) -> TokenStore:
    """The first `MOST_DOCUMENTS` documents of a data set, with our own marks."""

    def first() -> Iterator[pa.RecordBatch]:
        left = MOST_DOCUMENTS
        for batch in iterate_rows(shard_paths(Path(folder)), ["input_ids"], MOST_DOCUMENTS):
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                return

    store = TokenStore.in_memory(first(), context, marks)
    if marks[:2] == OWN_MARKS[:2]:
        return store
    # What is 0 and what are marks change places: nothing here depends on which id a token has.
    tokens = np.asarray(store.tokens)
    swapped = np.where(np.isin(tokens, marks[:2]), OWN_MARKS.end, np.where(tokens == OWN_MARKS.end, marks.end, tokens))
    return TokenStore(swapped.astype(tokens.dtype), store.bounds)
