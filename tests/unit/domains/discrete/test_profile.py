"""How sampled words differ from real ones: numbers worked out by hand, and made samples of every kind."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import entropy

from selfloop.data.profile_rows import Params
from selfloop.domains.discrete.domain import DOMAIN
from selfloop.domains.discrete.profile import Mirror, Pair
from selfloop.domains.discrete.rows import write_words
from selfloop.domains.discrete.steps import measure_profile
from selfloop.jobs.job import Job

TYPES, ROWS = 300, 40_000
FREQUENCIES = 1 / np.arange(1.0, TYPES + 1)
SHARES = FREQUENCIES / FREQUENCIES.sum()
EVEN = np.arange(TYPES) % 2 == 0
PAIRS = np.arange(TYPES) % 4 < 2
MIDDLE = (np.arange(TYPES) >= 40) & (np.arange(TYPES) < 60)


def test_two_pieces_have_no_row_in_common_and_are_the_same_for_the_same_rows() -> None:
    rows = {"a": 5, "b": 3}
    mirror = Mirror(rows, [rows])
    one, other = mirror.pieces(rows, "part")
    assert (one + other).tolist() == [5, 3]
    assert (one.sum(), other.sum()) == (4, 4)
    assert (mirror.pieces(rows, "part")[0] == one).all()


def test_measures_are_those_of_shares_and_means_over_both_halves() -> None:
    mirror = Mirror({"a": 8, "b": 8}, [{"a": 8, "c": 8}])
    mirror.halves = (np.array([6, 2, 0]), np.array([2, 6, 0]))
    found = mirror.of((np.array([8, 0, 0]), np.array([0, 4, 4])))
    assert found["entropy"] == pytest.approx((0 + math.log(2)) / 2)
    assert found["gini_simpson"] == pytest.approx((0 + 0.5) / 2)
    assert (found["recall"], found["overlap"]) == (0.5, pytest.approx((0.75 + 0.5) / 2))
    assert found["rare_mass"] == 0.0  # b in the first half, a in the second
    assert found["artifact_mass"] == pytest.approx((0 + 0.5) / 2)
    ours, real = np.array([8.5, 0.5, 0.5]), np.array([6.5, 2.5, 0.5])
    other = entropy([0.5, 4.5, 4.5], [2.5, 6.5, 0.5])
    assert found["divergence"] == pytest.approx((entropy(ours, real) + other) / 2)


def sampled(seed: int, factors: np.ndarray) -> dict[str, int]:
    shares = SHARES * factors / (SHARES * factors).sum()
    counts = np.random.default_rng(seed).multinomial(ROWS, shares)
    return {str(place): int(count) for place, count in enumerate(counts) if count}


def lost(types: np.ndarray) -> np.ndarray:
    """Factors by which the frequencies of some types of the tail fall."""
    return np.where(types & (np.arange(TYPES) >= 10), 0.01, 1.0)


def flattened(types: np.ndarray, power: float) -> np.ndarray:
    return np.where(types, SHARES**-power, np.median(SHARES) ** -power)


SAME = np.ones(TYPES)
# But where errors grow, those of the third iteration are not of the same types as those of the second.
KINDS: dict[str, list[np.ndarray]] = {
    "modal collapse": [SAME, lost(EVEN), lost(~EVEN)],
    "towards uniformity": [SAME, flattened(EVEN, 0.4), flattened(PAIRS, 0.6)],
    "amplified": [np.where(MIDDLE, factor, 1.0) for factor in (1.3, 1.7, 2.9)],
}


@pytest.fixture(scope="module")
def mirror() -> Mirror:
    every = dict.fromkeys(map(str, range(TYPES)), 1)
    return Mirror(sampled(1000, SAME), [{**every, "0": ROWS}])


def chains(mirror: Mirror, kind: list[np.ndarray]) -> dict[int, list[tuple[Any, Any]]]:
    found: dict[int, list[tuple[Any, Any]]] = {}
    for seed in (0, 1, 2):
        before: Pair | None = None
        for n, factors in enumerate(kind):
            own = mirror.pieces(sampled(10 * seed + n, factors), f"{seed} {n}")
            past = {} if before is None else mirror.carried(before, own)
            found.setdefault(seed, []).append((mirror.of(own) | past, mirror.itself))
            before = own
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_phenomenon_of_made_words_is_named_and_no_other(
    kind: str, mirror: Mirror, happening: Callable[..., set[str]]
) -> None:
    assert happening(DOMAIN, chains(mirror, KINDS[kind])) == {kind}


def test_words_that_stay_as_they_are_while_losses_rise_only_blow_up(
    mirror: Mirror, happening: Callable[..., set[str]]
) -> None:
    assert happening(DOMAIN, chains(mirror, [SAME] * 3), (1.0, 1.3, 1.6)) == {"blows up"}


def test_a_part_may_have_types_that_neither_real_split_has(tmp_path: Path) -> None:
    """Of fresh rows, which are in reserve."""
    for name, words in (("test", ["a", "b", "a", "b"]), ("part", ["a", "fresh", "a", "fresh"])):
        write_words(tmp_path / name, pa.array(words))
    links = [{"part": str(tmp_path / "part"), "previous": None, "checkpoint": "", "sampling": {}}]
    inputs, output = {"test": str(tmp_path / "test")}, str(tmp_path / "profile.parquet")
    measure_profile.run(Job(inputs, {"profile": output}, Params.model_validate({"links": links})))
    found = {row["measure"]: row["value"] for row in pq.read_table(output).to_pylist()}
    assert found["overlap"] <= 0.5
