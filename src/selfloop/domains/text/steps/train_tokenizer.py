"""Rule train_tokenizer: a byte-level BPE learnt from the real train split."""

from collections.abc import Iterator
from pathlib import Path

from selfloop.data.atomic import atomic_file
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.data.tokenizer import train_tokenizer
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    tokenizer: dict[str, int]


def run(job: Job[Params]) -> None:
    """Train on `job.input.train`; write a tokenizer.json."""
    vocabulary = job.params.tokenizer["vocabulary"]
    tokenizer = train_tokenizer(_texts(Path(job.input["train"])), vocabulary)
    learnt = tokenizer.get_vocab_size()
    if learnt < vocabulary:
        job.log.warning("the text yields only %d tokens; %d ids stay unused", learnt, vocabulary - learnt)
    with atomic_file(Path(job.output["tokenizer"])) as scratch:
        tokenizer.save(str(scratch))


def _texts(folder: Path) -> Iterator[str]:
    for batch in iterate_rows(shard_paths(folder), ["text"]):
        yield from batch.column("text").to_pylist()
