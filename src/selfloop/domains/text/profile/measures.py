"""Measures of documents as token sequences, of samples and of as many real tokens.

The real test documents are read in two halves, and a text to be measured in two pieces of as many tokens as a half has.
Each piece is compared with one half, in which no chain and no such piece has a part; values are means over the two. So
real text is measured as samples are: one half against the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selfloop.domains.text.profile.ngram import Floats, Text, Trigram
from selfloop.statistics.carried import carried, smoothed

MOST_TOKENS = 25_000  # of a half
ARTIFACT = 3.0  # a token is an artifact if it is over this many times as frequent in samples as in real text
Halves = tuple[Text, Text]


def halves(text: Text) -> Halves:
    """Every other document each, cut to the same number of tokens, at most `MOST_TOKENS`."""
    pieces = [text.part(text.document % 2 == remainder) for remainder in (0, 1)]
    size = min(*map(len, pieces), MOST_TOKENS)
    return pieces[0].part(slice(0, size)), pieces[1].part(slice(0, size))


def pieces(text: Text, tokens: int) -> Halves:
    """The first `tokens` tokens and as many after them, or two halves of what there is."""
    tokens = min(tokens, len(text) // 2)
    return text.part(slice(0, tokens)), text.part(slice(tokens, 2 * tokens))


@dataclass(frozen=True)
class Real:
    """Real text to compare with: two halves, each with its referee.

    Attributes:
        halves: documents that no chain sees.
        vocabulary: tokens that there are.
    """

    halves: Halves
    vocabulary: int

    @cached_property
    def referees(self) -> tuple[Trigram, Trigram]:
        """A trigram model of each half."""
        return Trigram(self.halves[0], self.vocabulary), Trigram(self.halves[1], self.vocabulary)

    @cached_property
    def itself(self) -> Mapping[str, float]:
        """The measures of real text: of each half against the other."""
        return self.measures((self.halves[1], self.halves[0]))

    def measures(self, text: Halves) -> Mapping[str, float]:
        """Of a text in two pieces.

        Returns:
            entropy: of the text itself, nats per token: the cross-entropy of each piece under a trigram model of the
                other one.
            referee_cross_entropy: of the text under the trigram models of real text.
            distinct_1, distinct_2, distinct_3: distinct n-grams over all, of as many tokens.
            recall: share of a half's distinct 3-grams that the text has.
            unseen_bigrams: share of the text's bigrams that a half has not.
            rare_mass: share of tokens of the types that are in the rarer half of a half's types.
            unigram_divergence: KL of the text's unigram distribution from the real one, nats.
            artifact_mass: Σ max(0, q - 3p) over types, q the text's and p the real unigram distribution.
        """
        models = [Trigram(piece, self.vocabulary) for piece in text]
        found = [self._against(piece, index) for index, piece in enumerate(text)]
        values = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
        crossed = [model.cross_entropy(text[1 - index]) for index, model in enumerate(models)]
        return {"entropy": float(np.mean(crossed)), **values}

    def _against(self, piece: Text, index: int) -> dict[str, float]:
        """One piece against one half."""
        half, vocabulary = self.halves[index], self.vocabulary
        values = {"referee_cross_entropy": self.referees[index].cross_entropy(piece)}
        grams = {n: (piece.grams(n, vocabulary), half.grams(n, vocabulary)) for n in (1, 2, 3)}
        for n, (own, _) in grams.items():
            values[f"distinct_{n}"] = len(np.unique(own)) / max(len(own), 1)
        values["recall"] = float(np.isin(np.unique(grams[3][1]), grams[3][0]).mean())
        values["unseen_bigrams"] = 1 - float(np.isin(*grams[2]).mean())
        counts = np.bincount(half.tokens, minlength=vocabulary)
        types = np.flatnonzero(counts)
        rare = types[np.argsort(counts[types], kind="stable")][: len(types) // 2]
        values["rare_mass"] = float(np.isin(piece.tokens, rare).mean())
        q, p = unigram(piece, vocabulary), unigram(half, vocabulary)
        values["unigram_divergence"] = float((q * np.log(q / p)).sum())
        values["artifact_mass"] = float(np.maximum(0, q - ARTIFACT * p).sum())
        return values

    def carried(self, before: Halves, after: Halves) -> dict[str, float]:
        """How much of one iteration's error in token frequencies the next one has: see `statistics.carried`."""
        pairs = ([unigram(piece, self.vocabulary) for piece in text] for text in (before, after, self.halves))
        return carried(*pairs)


def unigram(text: Text, vocabulary: int) -> Floats:
    """The distribution of tokens, smoothed."""
    return smoothed(np.bincount(text.tokens, minlength=vocabulary))
