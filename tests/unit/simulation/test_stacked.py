"""Chains of many seeds at once: which rows each training set takes."""

from collections.abc import Sequence

import numpy as np
import pytest

from selfloop.data.regimes import BUILT_IN, Regime, Source, training_set
from selfloop.simulation.rows import Rows, all_rows, gathered, pick
from selfloop.simulation.stacked import Picked, Streams, distinct, run

ROWS, SEEDS = 10, 4


class Recorded:
    """Rows that say where they come from: (iteration of the model, number); a model is its training set."""

    by_rows = True

    def __init__(self) -> None:
        self.sets: list[np.ndarray] = []
        self.sampled = 0

    def _rows(self, source: float) -> Rows:
        values = np.stack([np.full(ROWS, source), np.arange(ROWS, dtype=float)], axis=1)
        return all_rows(np.tile(values, (SEEDS, 1, 1)))

    def real(self, generator: np.random.Generator) -> Rows:
        return self._rows(0.0)

    def fresh(self, generator: np.random.Generator, rows: int) -> Rows:
        return all_rows(np.full((SEEDS, rows, 2), -1.0))

    def sample(self, model: float, generator: np.random.Generator) -> Rows:
        self.sampled += 1
        return self._rows(model)

    def pick(self, data: Rows, picked: Picked) -> Rows:
        return pick(data, picked)

    def merge(self, data: Sequence[Rows]) -> Rows:
        raise NotImplementedError

    def fit(self, taken: Sequence[tuple[Rows, np.ndarray]]) -> float:
        rows, weights = gathered(taken)
        self.weights = weights
        self.sets.append(rows)
        return float(len(self.sets))

    def measure(self, model: float) -> dict[str, np.ndarray]:
        return {"iteration": np.full(SEEDS, model)}


def recorded(regime: Regime, iterations: int) -> Recorded:
    chains = Recorded()
    found = run(chains, [training_set(regime, n) for n in range(1, iterations + 1)], ROWS, Streams("x", 0), SEEDS)
    assert found["iteration"].tolist() == [list(range(1, iterations + 1))] * SEEDS
    return chains


def test_whole_parts_are_taken_as_the_table_says() -> None:
    chains = recorded(BUILT_IN["accumulate"], 4)
    assert [sorted(set(rows[0, :, 0])) for rows in chains.sets] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert chains.sets[-1].shape == (SEEDS, 4 * ROWS, 2)
    assert chains.weights is None


def test_parts_that_nothing_takes_are_not_sampled() -> None:
    assert recorded(BUILT_IN["real"], 4).sampled == 0
    assert recorded(BUILT_IN["replace-multiple"], 4).sampled == 2 + 3 + 4


def test_a_budget_leaves_distinct_rows_of_the_whole_pool() -> None:
    chains = recorded(BUILT_IN["accumulate-subsample"], 5)
    for n, rows in enumerate(chains.sets, start=1):
        assert rows.shape[1] == ROWS
        for seed in range(SEEDS):
            assert len({tuple(row) for row in rows[seed]}) == ROWS
        assert rows[..., 0].max() < n
    assert len({row.tobytes() for row in chains.sets[-1]}) == SEEDS  # seeds pick rows of their own


def test_the_same_rows_are_the_same_at_every_iteration_and_others_are_not() -> None:
    for same in (True, False):
        chains = recorded(Regime("own", (Source("real", 0.3, same=same), Source("previous", 0.7))), 4)
        picks = [rows[:, :3, 1] for rows in chains.sets[1:]]
        assert all((rows == picks[0]).all() for rows in picks) is same


def test_weights_are_shares_of_the_loss() -> None:
    chains = recorded(Regime("own", (Source("fresh", 0.5, weight=3.0), Source("previous"))), 2)
    assert chains.weights is not None
    assert chains.weights.sum(axis=1) == pytest.approx(np.ones(SEEDS))
    assert chains.weights[:, 0] / chains.weights[:, -1] == pytest.approx(np.full(SEEDS, 3.0))
    assert (chains.sets[1][:, :5, 0] == -1).all()


@pytest.mark.parametrize(("count", "of"), [(3, 100), (60, 100), (100, 100)])
def test_sets_of_numbers_are_uniform_and_without_repetition(count: int, of: int) -> None:
    sets = distinct(np.random.default_rng(0), 4000, count, of)
    assert (np.diff(sets, axis=1) > 0).all()
    share = np.bincount(sets.ravel(), minlength=of) / len(sets)
    assert np.abs(share - count / of).max() < 5 * (count / of * (1 - count / of) / len(sets)) ** 0.5 + 1e-12
