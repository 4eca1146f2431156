"""Rule tokenize: the real documents with the tokens that models read."""

from pathlib import Path

from tokenizers import Tokenizer

from selfloop.domains.text.tokens import END_OF_TEXT_ID, SCHEMA
from selfloop.job import Job
from selfloop.shards import ShardWriter, iterate_rows, shard_paths
from selfloop.whole import whole_folder


def run(job: Job) -> None:
    """Encode both splits once, so that every training reads a column instead of tokenizing again."""
    tokenizer = Tokenizer.from_file(job.input["tokenizer"])
    # Text that spells the special token is text.
    tokenizer.encode_special_tokens = True
    for split in ("train", "test"):
        rows, tokens = 0, 0
        with whole_folder(Path(job.output[split])) as scratch, ShardWriter(scratch, SCHEMA) as writer:
            for batch in iterate_rows(shard_paths(Path(job.input[split])), ["text"]):
                texts = batch.column("text").to_pylist()
                for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
                    ids = [END_OF_TEXT_ID, *encoding.ids, END_OF_TEXT_ID]
                    writer.append({"text": text, "input_ids": ids, "iteration": 0, "part": 0, "row": rows})
                    rows += 1
                    tokens += len(ids)
        job.log.info("%s: %d documents, %s tokens", split, rows, f"{tokens:,}")
