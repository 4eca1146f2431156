"""What a set of sampled documents is like, against counts that need no tricks."""

import numpy as np
import pytest

from selfloop.domains.text import metrics
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.metrics import distinct, text_statistics


def store(documents: list[list[int]]) -> TokenStore:
    tokens = np.array([token for document in documents for token in document], dtype="<u2")
    return TokenStore(tokens, np.cumsum([0, *map(len, documents)]))


def framed(documents: list[list[int]]) -> TokenStore:
    """With the begin- and end-of-text that samples have."""
    return store([[0, *document, 0] for document in documents])


def naive_distinct(documents: list[list[int]], n: int) -> float:
    grams = [tuple(document[i : i + n]) for document in documents for i in range(len(document) - n + 1)]
    return len(set(grams)) / len(grams)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("vocabulary", [3, 65536])
def test_distinct_n_is_the_share_of_different_n_grams(n: int, vocabulary: int) -> None:
    generator = np.random.default_rng(n)
    documents = [generator.integers(0, vocabulary, size=length).tolist() for length in [0, 1, 2, 3, 50, 200, 7]]
    assert distinct(framed(documents), n) == naive_distinct(documents, n)


@pytest.mark.parametrize("at_once", [1, 7, 50, 10_000])
def test_the_share_does_not_depend_on_how_much_is_counted_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    documents = [generator.integers(1, 9, size=length).tolist() for length in generator.integers(0, 30, size=200)]
    monkeypatch.setattr(metrics, "TOKENS_AT_ONCE", at_once)
    for n in (1, 2, 3):
        assert distinct(framed(documents), n) == naive_distinct(documents, n)


def test_n_grams_of_large_ids_are_not_mixed_up() -> None:
    assert distinct(framed([[65535, 0, 1], [65534, 1, 1], [0, 65535, 1], [65535, 0, 1]]), 3) == 3 / 4
    assert distinct(framed([[0, 1, 0], [256, 0, 0], [0, 0, 1], [0, 256, 0]]), 3) == 1.0


def test_n_grams_do_not_reach_across_documents() -> None:
    assert distinct(framed([[1, 2], [3, 4]]), 3) == 0.0


PART = [[0, 5, 6, 0], [0, 5, 6, 0], [0, 5, 6, 7], [0, 8, 0], [0, 0]]


def test_all_statistics_of_a_small_part() -> None:
    """Counted by hand; begin- and end-of-text (0) count in none of them."""
    values = text_statistics(store(PART))
    assert values == pytest.approx(
        {
            "distinct_1": 4 / 8,  # 5 6 7 8 among 5 6, 5 6, 5 6 7, 8
            "distinct_2": 2 / 4,  # 5-6 three times, 6-7
            "distinct_3": 1.0,  # 5-6-7
            "duplicate_share": 1 / 5,
            "mean_length": 8 / 5,
        }
    )


def test_a_document_that_was_cut_is_not_one_that_ended() -> None:
    values = text_statistics(store([[0, 5, 6], [0, 5, 6, 0], [0, 5, 6, 6]]))
    assert values["mean_length"] == pytest.approx((2 + 2 + 3) / 3)
    assert values["duplicate_share"] == pytest.approx(1 / 3)
