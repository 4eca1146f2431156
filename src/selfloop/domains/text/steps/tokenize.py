"""Rule tokenize: the real documents with their token ids."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NotRequired, TypedDict

import pyarrow as pa
from tokenizers import Encoding, Tokenizer

from selfloop.data.atomic import atomic_folder
from selfloop.data.shards import ShardWriter, iterate_rows, shard_paths
from selfloop.domains.text.config import Data
from selfloop.domains.text.data.token_store import PROMPTED, SCHEMA
from selfloop.domains.text.data.tokenizer import OWN_MARKS, Marks, marks_around
from selfloop.jobs.job import Job, StepParams

CHARACTERS_AT_ONCE = 1_000_000  # an encoding takes some 30 times the memory of its text


class Params(StepParams):
    """What the step takes of its params."""

    data: Data


def run(job: Job[Params]) -> None:
    """Encode all splits once for all trainings, in pieces where `data.documents` asks for them."""
    longest, prompted = job.params.data.piece, job.params.data.prompt_column is not None
    tokenizer = Tokenizer.from_file(job.input["tokenizer"])
    marks = marks_around(tokenizer)
    # Text that spells the special token is encoded as text.
    tokenizer.encode_special_tokens = True
    for split in job.output:
        documents, rows, tokens = 0, 0, 0
        shards = shard_paths(Path(job.input[split]))
        encoded = pairs(shards, tokenizer, marks) if prompted else encodings(shards, tokenizer, longest, marks)
        schema = PROMPTED if prompted else SCHEMA
        with atomic_folder(Path(job.output[split])) as scratch, ShardWriter(scratch, schema) as writer:
            for document in encoded:
                for row in document:
                    writer.append({**row, "iteration": 0, "part": 0, "row": rows})
                    rows += 1
                    tokens += len(row["input_ids"])
                documents += 1
        divided = "" if longest is None else f" in {rows:,} pieces"
        job.log.info("%s: %d documents%s, %s tokens", split, documents, divided, f"{tokens:,}")


class Row(TypedDict):
    """A document, or a piece of one."""

    text: str
    input_ids: Sequence[int]
    prompt_tokens: NotRequired[int]


def encodings(
    shards: Sequence[Path], tokenizer: Tokenizer, longest: int | None, marks: Marks
) -> Iterator[Iterator[Row]]:
    """The rows of each document."""
    for texts in in_batches(iterate_rows(shards, ["text"])):
        for text, encoding in zip(texts, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True):
            yield ({"text": piece, "input_ids": ids} for piece, ids in pieces(text, encoding, longest, marks))


def pairs(shards: Sequence[Path], tokenizer: Tokenizer, marks: Marks) -> Iterator[list[Row]]:
    """The row of each prompt and its response, which are encoded apart: no token is of both."""
    prompts = (prompt for batch in in_batches(iterate_rows(shards, ["prompt"]), "prompt") for prompt in batch)
    for texts in in_batches(iterate_rows(shards, ["text"])):
        given = list(islice(prompts, len(texts)))
        both = (tokenizer.encode_batch(each, add_special_tokens=False) for each in (given, texts))
        for prompt, text, first, second in zip(given, texts, *both, strict=True):
            ids = [marks.begin, *first.ids, *second.ids, marks.end]
            yield [{"text": prompt + text, "input_ids": ids, "prompt_tokens": 1 + len(first.ids)}]


def pieces(
    text: str, encoding: Encoding, longest: int | None, marks: Marks = OWN_MARKS
) -> Iterator[tuple[str, list[int]]]:
    """A document in consecutive pieces of at most `longest` tokens, each with its text; whole if that is None.

    Each begins with begin-of-text; the last one ends with end-of-text, which is never alone in a piece. A character of
    several tokens is in the text of the piece that holds the last of them.
    """
    ids = [*encoding.ids, marks.end]
    room = len(ids) if longest is None else longest - 1
    cuts = list(range(0, len(ids), room))
    if len(cuts) > 1 and cuts[-1] == len(ids) - 1:
        cuts[-1] -= 1
    starts = [0, *(encoding.offsets[cut][0] for cut in cuts[1:])]
    for cut, end, start, stop in zip(cuts, [*cuts[1:], len(ids)], starts, [*starts[1:], len(text)], strict=True):
        yield text[start:stop], [marks.begin, *ids[cut:end]]


def in_batches(rows: Iterable[pa.RecordBatch], column: str = "text") -> Iterator[list[str]]:
    """Lists of documents of about `CHARACTERS_AT_ONCE` in total, or of one longer document."""
    texts: list[str] = []
    characters = 0
    for text in (value.as_py() for batch in rows for value in batch.column(column)):
        texts.append(text)
        characters += len(text)
        if characters >= CHARACTERS_AT_ONCE:
            yield texts
            texts, characters = [], 0
    if texts:
        yield texts
