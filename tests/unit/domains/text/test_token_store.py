"""Byte-level BPE, and token sequences that come back as they were."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from selfloop.domains.text.data.token_store import SCHEMA, TokenStore, padded
from selfloop.domains.text.data.tokenizer import END_OF_TEXT, END_OF_TEXT_ID, LONGEST_RUN, bounded, train_tokenizer

Make = Callable[[list[pa.RecordBatch], int], TokenStore]

SEQUENCES = [[0, 5, 6, 7, 0], [0, 1, 0], [], [0, 9, 8, 7, 6, 5, 4, 3, 0], [0]]


def batch(sequences: list[list[int]]) -> pa.RecordBatch:
    ids = pa.array(sequences, type=SCHEMA.field("input_ids").type)
    return pa.record_batch({"input_ids": ids})


def lists(store: TokenStore) -> list[list[int]]:
    return [store[row].tolist() for row in range(len(store))]


@pytest.fixture(params=["mapped", "in memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Both ways to make a store."""
    if request.param == "in memory":
        return TokenStore.in_memory
    return lambda batches, longest: TokenStore.create(batches, longest, tmp_path / "tokens")


def test_sequences_come_back_as_they_were(make: Make) -> None:
    store = make([batch(SEQUENCES[:2]), batch(SEQUENCES[2:])], 100)
    assert lists(store) == SEQUENCES
    assert store.lengths.tolist() == [5, 3, 0, 9, 1]


@pytest.mark.parametrize("longest", [1, 2, 3, 4, 5, 8, 9])
def test_longer_sequences_are_cut_to_their_first_tokens(make: Make, longest: int) -> None:
    store = make([batch(SEQUENCES)], longest)
    assert lists(store) == [sequence[:longest] for sequence in SEQUENCES]


@pytest.mark.parametrize(("begin", "length"), [(0, 2), (1, 3), (3, 2), (2, 1), (5, 0)])
def test_a_slice_of_a_batch_is_just_its_rows(make: Make, begin: int, length: int) -> None:
    store = make([batch(SEQUENCES).slice(begin, length)], 4)
    assert lists(store) == [sequence[:4] for sequence in SEQUENCES[begin : begin + length]]


@pytest.mark.parametrize(("rows", "kept"), [(None, 5), (9, 5), (5, 5), (2, 2), (1, 1)])
def test_the_first_documents_are_a_store_of_their_own(make: Make, rows: int | None, kept: int) -> None:
    store = make([batch(SEQUENCES)], 100).first(rows)
    assert lists(store) == SEQUENCES[:kept]
    assert store.lengths.tolist() == [5, 3, 0, 9, 1][:kept]


def test_no_batch_gives_an_empty_store(make: Make) -> None:
    assert len(make([], 10)) == 0


def test_the_largest_vocabulary_fits(make: Make) -> None:
    store = make([batch([[0, 65535, 32768, 65534, 0]])], 10)
    assert lists(store) == [[0, 65535, 32768, 65534, 0]]
    assert padded([store[0]]).tolist() == [[0, 65535, 32768, 65534, 0]]


def test_a_mapped_store_is_not_held_in_memory(tmp_path: Path) -> None:
    store = TokenStore.create([batch(SEQUENCES)], 10, tmp_path)
    assert isinstance(store.tokens, np.memmap)
    assert (tmp_path / "tokens.uint16").stat().st_size == 2 * sum(map(len, SEQUENCES))


def test_padding_is_on_the_right_and_no_token() -> None:
    assert padded([np.array([3, 4, 5]), np.array([6])]).tolist() == [[3, 4, 5], [6, -1, -1]]


TEXTS = ["the cat sat on the mat and the cat sat", "a dog, a cat; a dog!"] * 10


def test_the_tokenizer_has_the_vocabulary_it_was_asked_for() -> None:
    tokenizer = train_tokenizer(TEXTS, 262)
    assert tokenizer.get_vocab_size() == 262
    assert tokenizer.token_to_id(END_OF_TEXT) == END_OF_TEXT_ID


def test_the_tokenizer_learns_no_more_than_the_text_has() -> None:
    assert 257 < train_tokenizer(TEXTS, 8000).get_vocab_size() < 400


def test_every_text_comes_back_from_its_tokens() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    for text in ["the cat", "Ünïcode — 你好 \U0001f600", "\x00\x7f\t\n  ", " a", "", "don't"]:
        ids = tokenizer.encode(text).ids
        assert END_OF_TEXT_ID not in ids
        assert tokenizer.decode(ids) == text


def test_frequent_words_are_one_token() -> None:
    assert len(train_tokenizer(TEXTS, 300).encode(" cat").ids) == 1


def test_the_tokenizer_is_the_same_for_the_same_text() -> None:
    assert train_tokenizer(TEXTS, 300).to_str() == train_tokenizer(iter(TEXTS), 300).to_str()


@pytest.mark.parametrize(
    "letter", ["a", "7", " ", "-", "_", "你"], ids=["a", "7", "space", "dash", "underscore", "CJK"]
)
def test_a_long_run_of_letters_is_learnt_from_in_pieces(letter: str) -> None:
    """The time to learn from it would be quadratic in its length: 445 s for a million letters."""
    run = letter * (2 * LONGEST_RUN + 3)
    pieces = list(bounded(f"before. {run}x9? after"))
    assert "".join(pieces) == f"before. {run}x9? after"
    assert max(map(len, pieces)) <= LONGEST_RUN + len("before. ")
    for text in (letter * LONGEST_RUN, f"{letter}b9.\n" * LONGEST_RUN, "", "the cat"):
        assert list(bounded(text)) == [text]


def test_learning_from_a_long_word_takes_seconds() -> None:
    word = "".join(np.random.default_rng(0).choice(list("ACGT"), 300_000))
    began = time.perf_counter()
    tokenizer = train_tokenizer([word, *TEXTS], 1000)
    assert time.perf_counter() - began < 20  # 40 s and more where it is learnt from as a whole
    assert tokenizer.get_vocab_size() == 1000
    assert tokenizer.decode(tokenizer.encode(word).ids) == word
