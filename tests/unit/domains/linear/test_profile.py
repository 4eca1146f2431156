"""How fits err, on errors that are chosen; each phenomenon is recognised as what it is, and as nothing else."""

from collections.abc import Callable

import numpy as np
import pytest

from selfloop.domains.linear.domain import DOMAIN
from selfloop.domains.linear.profile import measures

TRUE = np.array([1.0, 0.0, 0.0])

# The errors of three successive fits; those that do not depend on each other are orthogonal.
KINDS: dict[str, np.ndarray] = {
    "modal collapse": np.array([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [-0.5, 0.0, 0.0]]),
    "towards uniformity": np.array([[0.0, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, -1.5, 0.0]]),
    "amplified": np.array([[0.0, 0.02, 0.0], [0.0, 0.04, 0.0], [0.0, 0.08, 0.0]]),
}


def chains(errors: np.ndarray) -> dict[int, list[tuple[dict[str, float], dict[str, float]]]]:
    """Of three seeds, whose errors differ a little, with inputs of their own."""
    found: dict[int, list[tuple[dict[str, float], dict[str, float]]]] = {}
    for seed in (0, 1, 2):
        generator, before = np.random.default_rng(seed), None
        for off in errors * generator.normal(1, 0.01, errors.shape):
            X = generator.standard_normal((400, 3))
            values, before = measures(X, X @ (TRUE + off), TRUE, before)
            found.setdefault(seed, []).append((values, {"error": 0.0, "signal": 1.0}))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_phenomenon_of_made_fits_is_named_and_no_other(kind: str, happening: Callable[..., set[str]]) -> None:
    assert happening(DOMAIN, chains(KINDS[kind])) == {kind}


def test_fits_that_stay_as_they_are_while_the_risk_rises_only_blow_up(happening: Callable[..., set[str]]) -> None:
    same = np.repeat([[0.0, 0.1, 0.0]], 3, axis=0)
    assert happening(DOMAIN, chains(same), (1.0, 1.3, 1.6)) == {"blows up"}
