"""What is expected of the discrete loop, where that is known."""

from collections.abc import Mapping, Sequence

import numpy as np

from selfloop.data.regimes import TrainingSet
from selfloop.domains.discrete.rows import Array, Integers
from selfloop.simulation.law import Fit, has_law, law
from selfloop.simulation.survival import expected_drawn_types, expected_types, extinct


def expected(
    sets: Sequence[TrainingSet],
    rows: int,
    test: Array,
    probabilities: Array,
    real: Integers | None,
    temperature: float = 1.0,
) -> dict[str, Array]:
    """By metric, the expected value (iterations,); nothing at another temperature than 1.

    Gini-Simpson diversity is the variance of one-hot rows, whose law is exact (`simulation.law`). Numbers of types
    follow a branching process (`simulation.survival`).

    Args:
        sets: training sets from iteration 1 on.
        rows: n, of the real train split.
        test: counts of the test rows (types,).
        probabilities: of the real distribution (types,), where seeds draw their real rows.
        real: counts of the real train rows (types,), if all seeds have the same.
        temperature: of sampling.
    """
    given = real is not None
    if temperature != 1 or (given and any(take.fresh for one in sets for take in one.takes)):
        return {}
    tested = test > 0
    died = extinct(sets, rows)
    if real is not None:
        first = 1 - float(np.sum((real / rows) ** 2))
        types, alive = (expected_types(died, own) for own in (real, real[tested]))
    else:
        first = 1 - float(np.sum(probabilities**2))
        types, alive = (expected_drawn_types(died, own, rows) for own in (probabilities, probabilities[tested]))
    found = {"types": types, "lost_types": 1 - alive / tested.sum()}
    if has_law(sets):
        found["gini_simpson"] = first * law(sets, Fit(rows, given=given)).variance
    return found


def untrained() -> Mapping[str, float]:
    """What a predictor that has seen nothing measures."""
    return {"lost_types": 1.0}
