"""Measures of the discrete domain's profile: how often types are sampled, beside as many held-out real rows.

The real test rows are drawn in two halves, and those of a part in two pieces of as many rows. Each piece is compared
with one half, and values are means over the two. So real rows are measured as samples are: a half against the other.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np
import numpy.typing as npt

from selfloop.identity import stream
from selfloop.statistics.carried import carried, smoothed

ARTIFACT = 3.0  # a type is an artifact if it is over this many times as frequent in samples as in real rows
Counts = npt.NDArray[np.int64]  # (types,)
Pair = tuple[Counts, Counts]


class Mirror:
    """Real rows to compare with.

    Args:
        test: real test rows, which no chain is trained on.
        parts: all that is sampled. Its types may be in neither real split: fresh rows are of another one.
    """

    def __init__(self, test: Mapping[str, int], parts: Iterable[Mapping[str, int]]) -> None:
        sampled = list(parts)
        self.places = {word: place for place, word in enumerate(sorted(set(test).union(*sampled)))}
        self.rows = min(sum(rows.values()) for rows in (test, *sampled)) // 2
        self.halves = self.pieces(test, "test")

    def pieces(self, rows: Mapping[str, int], name: str) -> Pair:
        """The counts of two draws of `self.rows` rows each, which have none in common.

        Rows of another `name` are drawn independently, so that the same rows are not chosen of two data sets.
        """
        counts = np.zeros(len(self.places), np.int64)
        for word, count in rows.items():
            counts[self.places[word]] = count
        generator = np.random.default_rng(stream(f"discrete profile/{name}", "rows"))
        first = generator.multivariate_hypergeometric(counts, self.rows, method="marginals")
        return first, generator.multivariate_hypergeometric(counts - first, self.rows, method="marginals")

    @cached_property
    def itself(self) -> dict[str, float]:
        """The measures of the real test rows."""
        return self.of((self.halves[1], self.halves[0]))

    def of(self, pieces: Pair) -> dict[str, float]:
        """Measures of samples.

        Returns:
            entropy: nats; gini_simpson: the probability that two rows differ; recall: the share of a half's types that
            the samples have; overlap: Σ min(q, p); rare_mass: the share of rows of the rarer half of a half's types;
            divergence: KL of q from p, nats; artifact_mass: Σ max(0, q - 3p); q the samples' and p the real shares.
        """
        found = [_against(piece, half) for piece, half in zip(pieces, self.halves, strict=True)]
        return {name: float(np.mean([each[name] for each in found])) for name in found[0]}

    def carried(self, before: Pair, after: Pair) -> dict[str, float]:
        """How much of the errors of one iteration the next one has: see `statistics.carried`."""
        return carried(*([smoothed(counts) for counts in pair] for pair in (before, after, self.halves)))


def _against(piece: Counts, half: Counts) -> dict[str, float]:
    q, p = piece / max(piece.sum(), 1), half / half.sum()
    smooth = smoothed(piece), smoothed(half)
    types = np.flatnonzero(half)
    rare = types[np.argsort(half[types], kind="stable")][: len(types) // 2]
    alive = q[q > 0]
    return {
        "entropy": float(-(alive * np.log(alive)).sum()),
        "gini_simpson": float(1 - (q**2).sum()),
        "recall": float((piece[types] > 0).mean()),
        "overlap": float(np.minimum(q, p).sum()),
        "rare_mass": float(q[rare].sum()),
        "divergence": float((smooth[0] * np.log(smooth[0] / smooth[1])).sum()),
        "artifact_mass": float(np.maximum(0, q - ARTIFACT * p).sum()),
    }
