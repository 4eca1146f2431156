"""Chains of many seeds at once: which rows each training set takes."""

import numpy as np
import pytest

from selfloop.data.regimes import BUILT_IN, Regime, Source, training_set
from selfloop.simulation.rows import distinct, layout, run
from selfloop.simulation.stacked import LANES, Integers, Streams, even_width

ROWS, SEEDS = 10, 4


class Recorded:
    """Rows that say where they come from: (iteration of the model, number); a model is its training set."""

    def __init__(self) -> None:
        self.sets: list[np.ndarray] = []
        self.sampled: list[Integers] = []

    def _rows(self, source: float, rows: np.ndarray) -> np.ndarray:
        return np.stack([np.full(rows.shape, source), rows.astype(float)], axis=2)

    def real(self, generator: np.random.Generator) -> np.ndarray:
        return self._rows(0.0, np.tile(np.arange(ROWS), (SEEDS, 1)))

    def fresh(self, generator: np.random.Generator, rows: int) -> np.ndarray:
        return np.full((SEEDS, rows, 2), -1.0)

    def sample(self, model: float, generator: np.random.Generator, rows: Integers, out: np.ndarray) -> None:
        self.sampled.append(rows)
        out[...] = self._rows(model, rows)

    def fit(self, rows: np.ndarray, weights: np.ndarray | None) -> float:
        self.weights = weights
        self.sets.append(rows)
        return float(len(self.sets))

    def measure(self, model: float) -> dict[str, np.ndarray]:
        return {"iteration": np.full(SEEDS, model)}


def recorded(regime: Regime, iterations: int) -> Recorded:
    chains = Recorded()
    sets = [training_set(regime, n) for n in range(1, iterations + 1)]
    found = run(chains, layout(sets, ROWS), Streams("x", 0), SEEDS)
    assert found["iteration"].tolist() == [list(range(1, iterations + 1))] * SEEDS
    return chains


def test_whole_parts_are_taken_as_the_table_says() -> None:
    chains = recorded(BUILT_IN["accumulate"], 4)
    assert [sorted(set(rows[0, :, 0])) for rows in chains.sets] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert chains.sets[-1].shape == (SEEDS, 4 * ROWS, 2)
    assert chains.weights is None


def test_parts_that_nothing_takes_are_not_sampled() -> None:
    assert recorded(BUILT_IN["real"], 4).sampled == []
    assert len(recorded(BUILT_IN["replace-multiple"], 4).sampled) == 2 + 3 + 4


def test_rows_that_nothing_takes_are_not_sampled() -> None:
    chains = recorded(Regime("own", (Source("previous", 0.3),)), 3)
    assert [rows.shape for rows in chains.sampled] == [(SEEDS, 3)] * 2
    for sampled, taken in zip(chains.sampled, chains.sets[1:], strict=True):
        assert sorted(map(tuple, sampled)) == sorted(map(tuple, taken[..., 1]))


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


@pytest.mark.parametrize(("most", "width"), [(0, 1), (1, 1), (3, 3), (33, 25), (60, 50), (99, 50), (1000, LANES)])
def test_blocks_are_as_wide_as_can_be_and_few_seeds_are_drawn_for_nothing(most: int, width: int) -> None:
    assert even_width(most) == width
