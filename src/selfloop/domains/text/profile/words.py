"""Measures of words: lexical diversity that does not depend on length, and the tail of frequencies."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import minimize_scalar

TTR = 0.72  # types per token at which a factor ends (McCarthy & Jarvis 2010)
STEEPEST = 10.0  # exponent
WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def words(texts: Iterable[str]) -> list[str]:
    """The words of texts, one after the other, in lower case."""
    return [word for text in texts for word in WORD.findall(text.lower())]


def mtld(words: Sequence[str]) -> float:
    """Measure of textual lexical diversity (McCarthy & Jarvis 2010): mean length of a run of words that keeps its share
    of distinct words above `TTR`, read forwards and backwards. NaN without words."""
    if not words:
        return float("nan")
    return (_mean_run(words) + _mean_run(words[::-1])) / 2


def _mean_run(words: Sequence[str]) -> float:
    factors, types, count = 0.0, set[str](), 0
    for word in words:
        count += 1
        types.add(word)
        if len(types) / count <= TTR:
            factors, types, count = factors + 1, set(), 0
    if count:
        factors += (1 - len(types) / count) / (1 - TTR)
    # Words that are all distinct end no factor, not in part either.
    return len(words) / factors if factors else float(len(words))


def zipf_exponent(words: Sequence[str]) -> float:
    """The exponent s of frequencies that fall like rank^-s, over the ranks that there are, by maximum likelihood.

    NaN for fewer than two distinct words.
    """
    counts = np.sort(np.unique(list(words), return_counts=True)[1])[::-1] if words else np.zeros(0)
    if len(counts) < 2:
        return float("nan")
    logs = np.log(np.arange(1, len(counts) + 1))
    mean = float(counts @ logs / counts.sum())
    found = minimize_scalar(
        lambda s: s * mean + np.log(np.exp(-s * logs).sum()),
        bounds=(0.0, STEEPEST),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return float(found.x)
