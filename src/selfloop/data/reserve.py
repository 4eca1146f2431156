"""The reserve: real rows for regimes that take fresh ones, in no other split."""

import math

from selfloop.errors import UserError


def counts(available: int, wanted: int | None, reserve: float, what: str = "rows") -> tuple[int, int]:
    """How many of the real rows are trained on, and how many the reserve has.

    Args:
        available: rows of the source that are neither tested on nor watched.
        wanted: rows to train on; None for all that the reserve leaves.
        reserve: rows of the reserve in multiples of those to train on.
        what: what a row is, in the plural.

    Raises:
        UserError: there are too few.
    """
    train = math.floor(available / (1 + reserve) + 1e-9) if wanted is None else wanted
    kept = round(train * reserve)
    if train + kept > available or not train:
        raise UserError(
            f"data.reserve: {reserve:g} needs {kept:,} {what} beside the {train:,} to train on, and there are "
            f"{available:,} in all; lower it, or train on fewer."
        )
    return train, kept
