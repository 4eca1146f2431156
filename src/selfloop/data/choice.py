"""The rows that a filter chooses of sampled ones, by their scores."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from pydantic import BaseModel

from selfloop.config.section import given
from selfloop.errors import UserError

Scores = npt.NDArray[np.float64]


class Choice(BaseModel):
    """How rows are chosen of the candidates; see `regimes.Choice`."""

    name: str
    keep: str
    each: bool
    candidates: int
    beta: float
    noise: float
    random: bool
    threshold: float | None = None


def read_scores(path: Path) -> Scores:
    """The scores of a part's rows, in their order."""
    scores: Scores = pq.read_table(path).column("score").to_numpy()
    return scores


def choose(
    scores: list[Scores | None], counts: list[int], wanted: int, real: int, how: Choice, seed: int
) -> npt.NDArray[np.bool_]:
    """Mask of the rows that are chosen of several parts, one after the other.

    Args:
        scores: of each part; None where they are chosen at random.
        counts: rows of each part.
        wanted: rows to choose.
        real: rows that a part has if none is missing.
        how: how they are chosen.
        seed: of what is drawn.

    Raises:
        UserError: there are too few candidates.
    """
    generator = np.random.default_rng(seed)
    total = sum(counts)
    keys = generator.random(total)
    ties = generator.random(total)
    if not how.random:
        held = np.concatenate([each for each in scores if each is not None])
        if len(held) != total:
            raise UserError(f"filter '{how.name}': there are {len(held):,} scores of {total:,} rows.")
        errs = np.flatnonzero(generator.random(total) < how.noise)
        held[errs] = held[generator.permutation(errs)]  # of another row, for all that is known
        if how.threshold is None:
            keys = {"highest": held, "lowest": -held, "drawn": how.beta * held - np.log(-np.log(keys))}[how.keep]
    mask = np.zeros(total, dtype=bool)
    if how.each:
        if set(counts) != {real}:
            raise UserError(f"filter '{how.name}': each row needs {how.candidates} candidates, and a part lacks some.")
        for begin in range(0, len(counts), how.candidates):
            rows = min(real, wanted - int(mask.sum()))
            of_each = np.arange(begin * real, (begin + how.candidates) * real).reshape(how.candidates, real)[:, :rows]
            best = _best(keys[of_each], ties[of_each])
            mask[of_each[best, np.arange(rows)]] = True
        return mask
    pool = min(total, max(wanted, round(wanted * how.candidates)))
    if wanted > pool:
        raise UserError(
            f"filter '{how.name}': {wanted:,} rows are to be kept of {pool:,} candidates; raise candidates."
        )
    if how.threshold is not None and not how.random:
        keys[:pool][~_passes(held[:pool], wanted, how)] = -1.0
    order = np.lexsort([ties[:pool], keys[:pool]])
    mask[order[pool - wanted :]] = True
    return mask


def _passes(scores: Scores, wanted: int, how: Choice) -> npt.NDArray[np.bool_]:
    """Which candidates are beyond the threshold of a filter.

    Raises:
        UserError: they are fewer than `wanted`.
    """
    passes = beyond(scores, how)
    if passes.sum() < wanted:
        raise UserError(
            f"filter '{how.name}': {passes.sum():,} of {len(scores):,} candidates have scores {how.keep} "
            f"{how.threshold:g}, and {wanted:,} are to be kept (scores are from {scores.min():g} to {scores.max():g}); "
            "raise candidates, or move the threshold."
        )
    return passes


def beyond(scores: Scores, how: Choice) -> npt.NDArray[np.bool_]:
    """Which scores are above the threshold of a filter, or below it, or at it."""
    threshold = given(how.threshold)
    return np.asarray(scores >= threshold if how.keep == "above" else scores <= threshold)


def _best(keys: Scores, ties: Scores) -> npt.NDArray[np.int64]:
    """Index of the largest key in each column; of equal ones, that with the larger number in `ties`."""
    return np.asarray(np.where(keys == keys.max(axis=0), ties, -1.0).argmax(axis=0))
