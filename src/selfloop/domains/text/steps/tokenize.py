"""Rule tokenize: the real documents with their token ids."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from tokenizers import Tokenizer

from selfloop.data.atomic import atomic_folder
from selfloop.data.shards import ShardWriter, iterate_rows, shard_paths
from selfloop.domains.text.data.token_store import SCHEMA
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID
from selfloop.jobs.job import Job, StepParams

CHARACTERS_AT_ONCE = 1_000_000  # an encoding takes some 30 times the memory of its text


def run(job: Job[StepParams]) -> None:
    """Encode all splits once for all trainings."""
    tokenizer = Tokenizer.from_file(job.input["tokenizer"])
    # Text that spells the special token is encoded as text.
    tokenizer.encode_special_tokens = True
    for split in job.output:
        rows, tokens = 0, 0
        with atomic_folder(Path(job.output[split])) as scratch, ShardWriter(scratch, SCHEMA) as writer:
            for texts in in_batches(iterate_rows(shard_paths(Path(job.input[split])), ["text"])):
                for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
                    ids = [END_OF_TEXT_ID, *encoding.ids, END_OF_TEXT_ID]
                    writer.append({"text": text, "input_ids": ids, "iteration": 0, "part": 0, "row": rows})
                    rows += 1
                    tokens += len(ids)
        job.log.info("%s: %d documents, %s tokens", split, rows, f"{tokens:,}")


def in_batches(rows: Iterable[pa.RecordBatch]) -> Iterator[list[str]]:
    """Lists of documents of about `CHARACTERS_AT_ONCE` in total, or of one longer document."""
    texts: list[str] = []
    characters = 0
    for text in (value.as_py() for batch in rows for value in batch.column("text")):
        texts.append(text)
        characters += len(text)
        if characters >= CHARACTERS_AT_ONCE:
            yield texts
            texts, characters = [], 0
    if texts:
        yield texts
