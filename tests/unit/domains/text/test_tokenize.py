"""Tokenizers are learnt in bounded time, and documents encoded in lists that do not grow with them."""

import logging
from pathlib import Path

import pyarrow as pa
import pytest
from tokenizers import Tokenizer
from tqdm import tqdm

from selfloop.data.shards import ShardWriter
from selfloop.domains.text.steps import tokenize, train_tokenizer
from selfloop.domains.text.steps.prepare_data import SCHEMA
from selfloop.jobs.job import Job


def test_what_the_corpus_cannot_fill_and_what_is_learnt_in_pieces_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "train").mkdir()
    with ShardWriter(tmp_path / "train", SCHEMA) as writer:
        for text in ("the cat sat on the mat", "ACGT" * 1000, "a dog"):
            writer.append({"text": text})
    job = Job(
        input={"train": str(tmp_path / "train")},
        output={"tokenizer": str(tmp_path / "tokenizer.json")},
        params=train_tokenizer.Params(tokenizer={"vocabulary": 8000}),
        progress=tqdm,
    )
    logging.getLogger("selfloop").propagate = True
    with caplog.at_level(logging.INFO):
        train_tokenizer.run(job)
    tokens = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size()
    assert caplog.messages == [
        "warning: 1 documents hold more than 1,000 letters without a space, or other characters of one kind; the "
        "tokenizer learns from pieces of them",
        "learning up to 8000 tokens from 4,027 characters",
        f"warning: the corpus fills {tokens} tokens of model.vocabulary, 8000; the other {8000 - tokens} ids are never "
        "sampled",
    ]


def test_long_documents_are_encoded_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize, "CHARACTERS_AT_ONCE", 10)
    batches = [pa.RecordBatch.from_pydict({"text": texts}) for texts in (["a" * 4] * 5, ["b" * 30], [], ["", "c"])]
    assert list(tokenize.in_batches(batches)) == [["a" * 4] * 3, ["a" * 4, "a" * 4, "b" * 30], ["", "c"]]
