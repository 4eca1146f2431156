"""What a set of sampled documents is like, without any model."""

import numpy as np

from selfloop.domains.text.tokens import END_OF_TEXT_ID, TokenStore


def text_statistics(part: TokenStore, real: TokenStore) -> dict[str, float]:
    """Diversity and length of a part.

    Returns:
        distinct_1, distinct_2, distinct_3: different n-grams of tokens over all n-grams, within documents (Li et al.
        2016); duplicate_share: documents that equal an earlier one; mean_length: tokens per document without begin- and
        end-of-text; vocabulary_coverage: share of the token types of the real documents that occur in the part.
    """
    documents = [_content(part[row]) for row in range(len(part))]
    values = {f"distinct_{n}": distinct(documents, n) for n in (1, 2, 3)}
    values["duplicate_share"] = 1 - len({document.tobytes() for document in documents}) / len(documents)
    values["mean_length"] = float(np.mean([len(document) for document in documents]))
    real_types = np.setdiff1d(np.unique(real.tokens), [END_OF_TEXT_ID])
    values["vocabulary_coverage"] = len(np.intersect1d(real_types, part.tokens)) / len(real_types)
    return values


def distinct(documents: list[np.ndarray], n: int) -> float:
    """Different n-grams over all n-grams; 0 where no document is that long."""
    grams = []
    for document in documents:
        if len(document) >= n:
            window = np.lib.stride_tricks.sliding_window_view(document.astype(np.uint64), n)
            grams.append(sum(window[:, place] << np.uint64(16 * place) for place in range(n)))
    if not grams:
        return 0.0
    together = np.concatenate(grams)
    return len(np.unique(together)) / len(together)


def _content(document: np.ndarray) -> np.ndarray:
    end = -1 if len(document) > 1 and document[-1] == END_OF_TEXT_ID else None
    return np.asarray(document[1:end])
