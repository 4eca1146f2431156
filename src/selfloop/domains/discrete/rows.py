"""Words in Parquet, one per row, and the real ones."""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from selfloop.data.shards import iterate_rows, shard_paths, write_table
from selfloop.domains.discrete.config import Data
from selfloop.domains.discrete.words import corpus
from selfloop.errors import UserError
from selfloop.identity import digest, stream

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
SCHEMA = pa.schema([("word", pa.string()), ("iteration", pa.int16()), ("part", pa.int16()), ("row", pa.int64())])


def write_words(folder: Path, words: pa.Array, iteration: int = 0, part: int = 0, first: int = 0) -> None:
    """Write a data set.

    Args:
        folder: written atomically.
        words: one per row.
        iteration: of the model that samples the rows; 0 for real ones.
        part: which of that model's parts.
        first: the number of the first row.
    """
    count = len(words)
    constant = [pa.repeat(pa.scalar(value, pa.int16()), count) for value in (iteration, part)]
    write_table(folder, pa.table([words, *constant, pa.array(np.arange(first, first + count))], schema=SCHEMA))


def shuffled(types: list[str], counts: Integers, generator: np.random.Generator) -> pa.Array:
    """Every type as often as it is counted, in a random order."""
    return pa.array(types).take(pa.array(generator.permutation(np.repeat(np.arange(len(types)), counts))))


def distribution(types: int, exponent: float) -> Array:
    """The probabilities of categories, (types,)."""
    weights = np.arange(1.0, types + 1) ** -exponent
    return np.asarray(weights / weights.sum())


def real_words(data: Data) -> tuple[pa.Array, pa.Array, pa.Array]:
    """The real words to train on, those to test on and those in reserve.

    The test rows of categories hold each as often as is expected of `rows`, and at least once.

    Raises:
        UserError: a corpus has fewer words than are asked for.
    """
    generator = np.random.default_rng(stream(digest(data.without("reserve").plain), "rows"))
    if data.source == "packaged":
        words = corpus("train")
        count = len(words) if data.rows is None else data.rows
        end = count + round(data.reserve * count)
        if end > len(words):
            key = "rows" if count > len(words) else "reserve"
            raise UserError(
                f"data.{key}: {getattr(data, key):,} asks for {end:,} words, and '{data.name}' has {len(words):,}."
            )
        everything = pa.array(words)
        if data.rows is not None or data.reserve:
            everything = everything.take(pa.array(generator.permutation(len(words))))
        return everything.slice(0, count), pa.array(corpus("test")), everything.slice(count, end - count)
    assert data.types is not None and data.rows is not None
    names = [str(place) for place in range(1, data.types + 1)]
    probabilities = distribution(data.types, data.exponent)
    train = shuffled(names, generator.multinomial(data.rows, probabilities), generator)
    test = np.repeat(np.arange(data.types), np.maximum(1, np.rint(data.rows * probabilities)).astype(np.int64))
    further = np.random.default_rng(stream(digest(data.without("reserve").plain), "reserve rows"))
    counts = further.multinomial(round(data.reserve * data.rows), probabilities)
    return train, pa.array(names).take(pa.array(test)), shuffled(names, counts, further)


def counted(words: pa.Array) -> Counter[str]:
    """How often each word occurs."""
    found = words.value_counts()
    return Counter(dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)))


def read_counts(folder: Path) -> Counter[str]:
    """How often each word occurs in a data set; memory is bounded by the types."""
    found: Counter[str] = Counter()
    for batch in iterate_rows(shard_paths(folder), ["word"]):
        found.update(counted(batch.column("word")))
    return found
