"""Rule train_tokenizer: a byte-level BPE learnt from the real train split."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from selfloop.data.atomic import atomic_file
from selfloop.data.shards import count_rows, iterate_rows, shard_paths
from selfloop.domains.text.config import Model
from selfloop.domains.text.data.tokenizer import LONGEST_RUN, bounded, train_tokenizer, with_marks
from selfloop.jobs.job import Job, StepParams


class Params(StepParams):
    """What the step takes of its params."""

    tokenizer: dict[str, int | str | None]


def run(job: Job[Params]) -> None:
    """Train on `job.input.train`, or take the one of a checkpoint or `job.input.given`; write a tokenizer.json."""
    if "given" in job.input:
        with atomic_file(Path(job.output["tokenizer"])) as scratch:
            shutil.copyfile(job.input["given"], scratch)
        return
    asked = job.params.tokenizer
    if asked.get("checkpoint") is not None:
        from selfloop.domains.text.model.pretrained import load_tokenizer, marks_of_tokenizer

        found = load_tokenizer(Model(checkpoint=str(asked["checkpoint"]), revision=_word(asked.get("revision"))))
        marks = marks_of_tokenizer(found, len(found))
        with atomic_file(Path(job.output["tokenizer"])) as scratch:
            with_marks(found.backend_tokenizer, marks).save(str(scratch))
        return
    vocabulary = int(asked["vocabulary"] or 0)
    tokenizer = train_tokenizer(_texts(job), vocabulary)
    learnt = tokenizer.get_vocab_size()
    if learnt < vocabulary:
        job.log.warning(
            "warning: the corpus fills %d tokens of model.vocabulary, %d; the other %d ids are never sampled",
            learnt,
            vocabulary,
            vocabulary - learnt,
        )
    with atomic_file(Path(job.output["tokenizer"])) as scratch:
        tokenizer.save(str(scratch))


def _word(value: int | str | None) -> str | None:
    return None if value is None else str(value)


def _texts(job: Job[Params]) -> Iterator[str]:
    folder = Path(job.input["train"])
    characters = long = 0
    with job.progress(desc="read", unit=" documents", total=count_rows(folder)) as bar:
        for batch in iterate_rows(shard_paths(folder), ["text"]):
            for text in batch.column("text").to_pylist():
                characters += len(text)
                long += len(list(bounded(text))) > 1
                yield text
            bar.update(batch.num_rows)
    if long:
        job.log.warning(
            "warning: %d documents hold more than %s letters without a space, or other characters of one kind; the "
            "tokenizer learns from pieces of them",
            long,
            f"{LONGEST_RUN:,}",
        )
    job.log.info("learning up to %d tokens from %s characters", job.params.tokenizer["vocabulary"], f"{characters:,}")
