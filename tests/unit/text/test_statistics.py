"""What a set of sampled documents is like, against counts that need no tricks."""

import numpy as np
import pytest

from selfloop.domains.text.statistics import distinct, text_statistics
from selfloop.domains.text.tokens import TokenStore


def store(documents: list[list[int]]) -> TokenStore:
    tokens = np.array([token for document in documents for token in document], dtype="<u2")
    return TokenStore(tokens, np.cumsum([0, *map(len, documents)]))


def naive_distinct(documents: list[list[int]], n: int) -> float:
    grams = [tuple(document[i : i + n]) for document in documents for i in range(len(document) - n + 1)]
    return len(set(grams)) / len(grams)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("vocabulary", [3, 65536])
def test_distinct_n_is_the_share_of_different_n_grams(n: int, vocabulary: int) -> None:
    generator = np.random.default_rng(n)
    documents = [generator.integers(0, vocabulary, size=length).tolist() for length in [0, 1, 2, 3, 50, 200, 7]]
    arrays = [np.array(document, dtype="<u2") for document in documents]
    assert distinct(arrays, n) == naive_distinct(documents, n)


def test_n_grams_of_large_ids_are_not_mixed_up() -> None:
    documents = [np.array(ids, dtype="<u2") for ids in ([65535, 0, 1], [65534, 1, 1], [0, 65535, 1], [65535, 0, 1])]
    assert distinct(documents, 3) == 3 / 4
    shifted = [np.array(ids, dtype="<u2") for ids in ([0, 1, 0], [256, 0, 0], [0, 0, 1], [0, 256, 0])]
    assert distinct(shifted, 3) == 1.0


def test_n_grams_do_not_reach_across_documents() -> None:
    assert distinct([np.array([1, 2], dtype="<u2"), np.array([3, 4], dtype="<u2")], 3) == 0.0


PART = [[0, 5, 6, 0], [0, 5, 6, 0], [0, 5, 6, 7], [0, 8, 0], [0, 0]]
REAL = [[0, 5, 9, 0], [0, 6, 8, 10, 0]]


def test_all_statistics_of_a_small_part() -> None:
    """Counted by hand; begin- and end-of-text (0) count in none of them."""
    values = text_statistics(store(PART), store(REAL))
    assert values == pytest.approx(
        {
            "distinct_1": 4 / 8,  # 5 6 7 8 among 5 6, 5 6, 5 6 7, 8
            "distinct_2": 2 / 4,  # 5-6 three times, 6-7
            "distinct_3": 1.0,  # 5-6-7
            "duplicate_share": 1 / 5,
            "mean_length": 8 / 5,
            "vocabulary_coverage": 3 / 5,  # 5 6 8 of 5 6 8 9 10
        }
    )


def test_a_document_that_was_cut_is_not_one_that_ended() -> None:
    values = text_statistics(store([[0, 5, 6], [0, 5, 6, 0], [0, 5, 6, 6]]), store(REAL))
    assert values["mean_length"] == pytest.approx((2 + 2 + 3) / 3)
    assert values["duplicate_share"] == pytest.approx(1 / 3)


def test_the_real_documents_cover_their_own_vocabulary() -> None:
    values = text_statistics(store(REAL), store(REAL))
    assert values["vocabulary_coverage"] == 1.0
    assert values["duplicate_share"] == 0.0
