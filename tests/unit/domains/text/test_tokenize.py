"""Tokenizers are learnt in bounded time, and documents encoded in lists that do not grow with them."""

import logging
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from selfloop.data.shards import ShardWriter, iterate_rows, shard_paths
from selfloop.domains.text.config import Data, Documents, Training
from selfloop.domains.text.data import tokenizer as tokenizer_module
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID
from selfloop.domains.text.model.batches import DocumentTask, LanguageTask, Order, PackedTask
from selfloop.domains.text.model.loss import IGNORED
from selfloop.domains.text.steps import prepare_data, tokenize, train_tokenizer
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


def test_a_tokenizer_that_is_given_is_taken_as_it_is(tmp_path: Path) -> None:
    tokenizer_module.train_tokenizer(["one half"], 260).save(str(tmp_path / "given.json"))
    inputs = {"train": str(tmp_path / "not read"), "given": str(tmp_path / "given.json")}
    params = train_tokenizer.Params(tokenizer={"tokenizer": inputs["given"]})
    train_tokenizer.run(Job(inputs, {"tokenizer": str(tmp_path / "taken.json")}, params))
    assert (tmp_path / "taken.json").read_bytes() == (tmp_path / "given.json").read_bytes()


def test_long_documents_are_encoded_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize, "CHARACTERS_AT_ONCE", 10)
    batches = [pa.RecordBatch.from_pydict({"text": texts}) for texts in (["a" * 4] * 5, ["b" * 30], [], ["", "c"])]
    assert list(tokenize.in_batches(batches)) == [["a" * 4] * 3, ["a" * 4, "a" * 4, "b" * 30], ["", "c"]]


CONTEXT = 32


@pytest.mark.parametrize("documents", [Documents(tokens=CONTEXT), Documents(tokens=CONTEXT, paragraphs=True)])
def test_every_token_of_long_documents_is_in_a_piece_and_trained_on(tmp_path: Path, documents: Documents) -> None:
    """19 books, divided by a line; none is lost, also where a piece ends within a character of two tokens."""
    chapters = [f"Chapter {chapter}: the sea, naïve and 大海, went on. " * 9 for chapter in range(5)]
    books = [f"Book {number}.\n\n" + "\n \n".join(chapters) for number in range(19)]
    (tmp_path / "books.txt").write_text("\n=====\n".join(books))
    data = Data(
        source="files", train=str(tmp_path / "books.txt"), separator="=====", documents=documents, test_fraction=0.1
    )
    outputs = {split: str(tmp_path / split) for split in ("train", "test", "validation")}
    prepare_data.run(Job({}, outputs, prepare_data.Params(data=data)))
    job = Job(
        {"train": outputs["train"]},
        {"tokenizer": str(tmp_path / "tokenizer.json")},
        train_tokenizer.Params(tokenizer={"vocabulary": 280}),
        progress=tqdm,
    )
    train_tokenizer.run(job)
    tokenizer = Tokenizer.from_file(job.output["tokenizer"])
    coded = {split: str(tmp_path / f"{split}-tokens") for split in ("train", "test")}
    tokenize.run(Job({**outputs, **job.output}, coded, tokenize.Params(data=data)))
    for split in coded:
        texts = [text for batch in iterate_rows(shard_paths(Path(outputs[split])), ["text"]) for text in batch[0]]
        rows = [
            row for b in iterate_rows(shard_paths(Path(coded[split])), ["text", "input_ids"]) for row in b.to_pylist()
        ]
        store = TokenStore.in_memory(iterate_rows(shard_paths(Path(coded[split])), ["input_ids"]), CONTEXT)
        seen = [store[row][1:].tolist() for row in range(len(store))]
        ids = [[*tokenizer.encode(text.as_py()).ids, END_OF_TEXT_ID] for text in texts]
        assert list(chain(*seen)) == list(chain(*ids))
        assert "".join(row["text"] for row in rows) == "".join(text.as_py() for text in texts)
        assert int(store.ended.sum()) == len(texts) > 0
        assert max(store.lengths) <= CONTEXT < sum(map(len, ids)) / 4
        assert min(store.lengths) > 2  # no piece is end-of-text alone
        order = Order(Training(epochs=1), 4, seed=0)
        tasks: tuple[LanguageTask, ...] = (
            DocumentTask(store, store, order, torch.device("cpu")),
            PackedTask(store, store, order, CONTEXT, torch.device("cpu")),
        )
        for task in tasks:
            batches = [task.batch(step).targets for step in range(task.steps)]
            targets = torch.cat([batch[batch != IGNORED] for batch in batches])
            assert sorted(targets.tolist()) == sorted(chain(*ids))


def test_a_piece_never_holds_end_of_text_alone() -> None:
    tokenizer = train_tokenizer_of("ab")
    encoding = tokenizer.encode("abababa")  # 7 tokens, and end-of-text
    found = list(tokenize.pieces("abababa", encoding, 8))
    assert [text for text, _ in found] == ["ababab", "a"]
    assert [len(ids) for _, ids in found] == [7, 3]
    assert list(tokenize.pieces("abababa", encoding, 9)) == [("abababa", [0, *encoding.ids, 0])]


def train_tokenizer_of(letters: str) -> Tokenizer:
    """A tokenizer of single bytes."""
    return train_tokenizer.train_tokenizer([letters], 257)
