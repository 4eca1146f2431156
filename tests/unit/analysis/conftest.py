"""Small tidy tables whose figures and tables can be worked out by hand."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from selfloop.data.quantity import Quantity

LOSS = Quantity("cross_entropy", "test", "Test cross-entropy", "nats per token")

# Iterations 1 to 5 of seed 0; seed 1 lies 0.2 above at every iteration.
VALUES = {
    "replace": [2.0, 2.5, 3.0, 3.5, 4.0],
    "accumulate": [2.0, 1.9, 1.9, 1.8, 1.8],
    "replace-multiple": [2.0, 2.2, 2.4, 2.6, 2.8],
}


def metrics_table(
    seeds: int = 2, iterations: int = 5, regimes: tuple[str, ...] = tuple(VALUES), **same: Any
) -> pd.DataFrame:
    """A study of one model in which seed s lies 0.2 s above `VALUES`; `same` overrides columns."""
    base = {"experiment": "gpt2", "domain": "text", "model": "GPT-2 (0.5M)", "sampling": "temperature=1.0"}
    rows = [
        base
        | {"regime": regime, "seed": seed, "iteration": t + 1, "part": None}
        | {"split": "test", "metric": "cross_entropy", "value": VALUES[regime][t] + 0.2 * seed}
        | same
        for regime in regimes
        for seed in range(seeds)
        for t in range(iterations)
    ]
    return pd.DataFrame(rows).astype({"part": "Int16"})


@pytest.fixture
def metrics() -> pd.DataFrame:
    return metrics_table()


@pytest.fixture
def make_metrics() -> Callable[..., pd.DataFrame]:
    return metrics_table


@pytest.fixture
def loss() -> Quantity:
    return LOSS
