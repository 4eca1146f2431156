"""Data sets of many seeds that are kept row by row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfloop.simulation.stacked import Array, Integers, Picked


@dataclass(frozen=True)
class Rows:
    """Rows of each seed.

    Attributes:
        values: (seeds, rows, columns).
        numbers: how many of them are taken, (seeds,).
        chosen: which, of all seeds one after the other; None for all.
    """

    values: Array
    numbers: Integers
    chosen: Integers | None = None


def all_rows(values: Array) -> Rows:
    """A whole data set, (seeds, rows, columns)."""
    return Rows(values, np.full(len(values), values.shape[1]))


def pick(data: Rows, picked: Picked) -> Rows:
    """Some rows of a data set, which may be some of another's."""
    assert picked.rows is not None
    rows = picked.rows
    if data.chosen is not None:
        begins = np.cumsum(data.numbers) - data.numbers
        rows = data.chosen[np.repeat(begins, picked.numbers) + rows]
    return Rows(data.values, picked.numbers, rows)


def gathered(taken: Sequence[tuple[Rows, Array]]) -> tuple[Array, Array | None]:
    """All rows of a training set, (seeds, N, columns), and their weights (seeds, N), which add up to 1.

    The weights are None where all are 1/N. Every seed has as many rows.
    """
    totals = np.sum([data.numbers for data, _ in taken], axis=0)
    seeds, total = len(totals), int(totals[0])
    with np.errstate(invalid="ignore"):
        each = [np.where(data.numbers > 0, share / data.numbers, 1 / total) for data, share in taken]
    alike = all(np.allclose(weight, 1 / total, rtol=1e-12, atol=0) for weight in each)
    if len(taken) == 1 and taken[0][0].chosen is None:
        return taken[0][0].values, None
    values = np.empty((seeds * total, taken[0][0].values.shape[2]))
    weights = np.empty(seeds * total)
    filled = np.arange(seeds) * total
    for (data, _), weight in zip(taken, each, strict=True):
        if data.chosen is None:
            place = (filled[:, None] + np.arange(data.values.shape[1])).ravel()
            values[place] = data.values.reshape(len(place), -1)
        else:
            seed = np.repeat(np.arange(seeds), data.numbers)
            begins = np.cumsum(data.numbers) - data.numbers
            place = np.arange(len(seed)) + np.repeat(filled - begins, data.numbers)
            values[place] = data.values.reshape(-1, values.shape[1])[seed * data.values.shape[1] + data.chosen]
        weights[place] = np.repeat(weight, data.numbers)
        filled = filled + data.numbers
    return values.reshape(seeds, total, -1), None if alike else weights.reshape(seeds, total)
