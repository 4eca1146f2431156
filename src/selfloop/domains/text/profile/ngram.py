"""N-grams within documents, and the trigram model that referees them.

The model is exact and costs milliseconds: no training, no seed, and nothing that a chain has seen. Kneser and Ney's
interpolated trigram (1995; Chen & Goodman 1999, section 2.7) with one discount.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.data.tokenizer import END_OF_TEXT_ID

DISCOUNT = 0.75  # customary for all orders

Keys = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Text:
    """The predicted tokens of documents, each with the two before it, and which document it belongs to.

    Attributes:
        tokens: every token but begin-of-text, [tokens].
        before, second: the token before, and the one before that; begin-of-text where a document begins.
        document: index of its document, [tokens].
    """

    tokens: Keys
    before: Keys
    second: Keys
    document: Keys

    def __len__(self) -> int:
        return len(self.tokens)

    def part(self, chosen: "slice | npt.NDArray[np.bool_]") -> "Text":
        """Some of its tokens."""
        return Text(self.tokens[chosen], self.before[chosen], self.second[chosen], self.document[chosen])

    def grams(self, n: int, vocabulary: int) -> Keys:
        """One number for each n-gram of tokens within documents, n ≤ 3; those that reach before a document are none."""
        inside = np.ones(len(self), dtype=bool)
        if n > 1:
            inside &= self.before != END_OF_TEXT_ID
        if n > 2:
            inside &= self.second != END_OF_TEXT_ID
        numbers = self.tokens[inside]
        if n > 1:
            numbers = numbers + vocabulary * self.before[inside]
        return numbers + vocabulary**2 * self.second[inside] if n > 2 else numbers


def text_of(store: TokenStore) -> Text:
    """The predicted tokens of a store's documents, in order; before the first of them is begin-of-text, or a prompt."""
    tokens = np.asarray(store.tokens[: store.bounds[-1]]).astype(np.int64)
    document = np.repeat(np.arange(len(store)), store.lengths)
    place = np.arange(len(tokens)) - np.repeat(store.bounds[:-1], store.lengths)
    before = np.roll(tokens, 1)
    second = np.where(place > 1, np.roll(tokens, 2), END_OF_TEXT_ID)
    given = 1 if store.given is None else np.repeat(store.given, store.lengths)
    return Text(tokens, before, second, document).part(place >= given)


class Counts:
    """How often each number occurs."""

    def __init__(self, numbers: Keys) -> None:
        self.keys, self.counts = np.unique(numbers, return_counts=True)

    def of(self, numbers: Keys) -> Keys:
        """The counts of some numbers; 0 of one that does not occur."""
        places = np.searchsorted(self.keys, numbers)
        places = np.minimum(places, max(len(self.keys) - 1, 0))
        if not len(self.keys):
            return np.zeros(len(numbers), dtype=np.int64)
        return np.where(self.keys[places] == numbers, self.counts[places], 0)


class Sums(Counts):
    """Sums of weights by number."""

    def __init__(self, numbers: Keys, weights: Keys) -> None:
        self.keys, places = np.unique(numbers, return_inverse=True)
        self.counts = np.bincount(places, weights, minlength=len(self.keys)).astype(np.int64)


class Trigram:
    """An interpolated Kneser-Ney trigram.

    Args:
        text: what it is estimated from.
        vocabulary: tokens that there are; one that `text` lacks has a positive probability, too.
    """

    def __init__(self, text: Text, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        contexts = text.second * vocabulary + text.before
        self.trigrams = Counts(contexts * vocabulary + text.tokens)
        self.contexts = Counts(contexts)
        self.followers = Counts(self.trigrams.keys // vocabulary)
        # Lower orders count in how many contexts a continuation occurs.
        self.bigrams = Counts(self.trigrams.keys % vocabulary**2)
        self.middles = Sums(self.bigrams.keys // vocabulary, self.bigrams.counts)
        self.middle_followers = Counts(self.bigrams.keys // vocabulary)
        self.words = Counts(self.bigrams.keys % vocabulary)

    def log_probabilities(self, text: Text) -> Floats:
        """Of each token, nats, [tokens]."""
        total = max(int(self.words.counts.sum()), 1)
        unigram = _discounted(self.words.of(text.tokens), np.full(len(text), total))
        unigram += DISCOUNT * len(self.words.keys) / total / self.vocabulary
        context = self.middles.of(text.before)
        bigram = _discounted(self.bigrams.of(text.before * self.vocabulary + text.tokens), context)
        bigram += _left(self.middle_followers.of(text.before), context) * unigram
        contexts = text.second * self.vocabulary + text.before
        count = self.contexts.of(contexts)
        trigram = _discounted(self.trigrams.of(contexts * self.vocabulary + text.tokens), count)
        trigram += _left(self.followers.of(contexts), count) * bigram
        logs: Floats = np.log(trigram)
        return logs

    def cross_entropy(self, text: Text) -> float:
        """Nats per token."""
        return float(-self.log_probabilities(text).mean())


def _discounted(counts: Keys, total: Keys) -> Floats:
    share: Floats = np.maximum(counts - DISCOUNT, 0) / np.maximum(total, 1)
    return share


def _left(distinct: Keys, total: Keys) -> Floats:
    """The probability that is left for the lower order: all of it in a context that does not occur."""
    share: Floats = np.where(total > 0, DISCOUNT * distinct / np.maximum(total, 1), 1.0)
    return share
