"""How given labels differ from real ones: numbers worked out by hand, and made models of every kind."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.optimize import approx_fprime

from selfloop.data.atomic import atomic_folder
from selfloop.data.profile_rows import Params
from selfloop.domains.logistic.domain import DOMAIN
from selfloop.domains.logistic.model import measured, save_checkpoint
from selfloop.domains.logistic.profile import Mirror
from selfloop.domains.logistic.rows import Array, probabilities, write_rows
from selfloop.domains.logistic.steps import measure_profile
from selfloop.jobs.job import Job

TRUE = np.array([2.0, 0.0, 0.0, 0.0])


def test_measures_are_those_of_the_probabilities_of_labels() -> None:
    mirror = Mirror(np.array([[0.0], [1.0], [1.0]]), np.array([0.0, 1.0, 0.0]), np.zeros(2))
    chance = 0.99
    found = mirror.of(np.array([math.log(chance / (1 - chance)), 0.0]))
    entropy = -chance * math.log(chance) - (1 - chance) * math.log(1 - chance)
    assert found["entropy"] == pytest.approx((math.log(2) + 2 * entropy) / 3)
    assert found["recall"] == pytest.approx(2 / 3)  # the last label has a probability of 1%
    assert found["agreement"] == pytest.approx((0.5 + chance + 1 - chance) / 3)
    assert found["positive"] == pytest.approx((0.5 + 2 * chance) / 3)
    assert mirror.itself["entropy"] == pytest.approx(math.log(2))
    assert mirror.itself["positive"] == pytest.approx(1 / 3)


def test_a_model_that_is_sure_of_its_labels_has_no_entropy() -> None:
    mirror = Mirror(np.array([[1.0], [-1.0]]), np.array([1.0, 0.0]), np.zeros(2))
    assert mirror.of(np.array([1e6, 0.0]))["entropy"] == 0


def test_the_error_is_the_gradient_of_the_log_loss() -> None:
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(40, 3)), generator.integers(2, size=40).astype(np.float64)
    w = generator.normal(size=4)
    mirror = Mirror(X, y, w)
    gradient = approx_fprime(w, lambda at: float(measured(at, X, y)["log_loss"]))
    inputs = np.column_stack([X, np.ones(40)])
    one, other = mirror._errors(w)
    found = float(((one + other) / 2) @ ((one + other) / 2))
    assert found == pytest.approx(gradient @ np.linalg.solve(inputs.T @ inputs / 40, gradient), rel=1e-4)


def drawn(rows: int = 4000) -> tuple[Array, Array]:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(rows, 3))
    return X, (generator.random(rows) < probabilities(X, TRUE)).astype(np.float64)


def test_kappa_has_no_part_of_the_noise_of_real_labels() -> None:
    """Two models whose errors are independent; with the same labels in both, κ would be 0.4."""
    found = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        X = generator.normal(size=(200, 3))
        mirror = Mirror(X, (generator.random(200) < probabilities(X, TRUE)).astype(np.float64), TRUE)
        one, other = (TRUE + 0.6 * generator.normal(size=4) for _ in range(2))
        values = mirror.carried(one, other)
        found.append((values["kappa"] * values["kappa_weight"], values["kappa_weight"]))
    across, weights = np.nansum(found, axis=0)
    assert across / weights == pytest.approx(0, abs=0.15)


def test_what_is_deleted_is_left_out(tmp_path: Path) -> None:
    X, y = drawn(100)
    write_rows(tmp_path / "test", X, y)
    names = ("a", "b", "c")
    for name in names:
        with atomic_folder(tmp_path / name) as scratch:
            save_checkpoint(TRUE, scratch)
    (tmp_path / "b").rename(tmp_path / "gone")
    links = [
        {"part": f"part {name}", "previous": before, "checkpoint": str(tmp_path / name), "sampling": {}}
        for name, before in zip(names, (None, "part a", "part b"), strict=True)
    ]
    inputs = {"test": str(tmp_path / "test"), "first": str(tmp_path / "a")}
    output = str(tmp_path / "profile.parquet")
    measure_profile.run(Job(inputs, {"profile": output}, Params.model_validate({"links": links})))
    found = [(row["part"], row["measure"]) for row in pq.read_table(output).to_pylist()]
    assert {part for part, _ in found} == {"part a", "part c"}
    assert "kappa" not in {measure for _, measure in found}  # there is no model before c


# Parameters of three successive models; where nothing is to grow, their errors have other directions.
KINDS: dict[str, np.ndarray] = {
    "modal collapse": np.array([[2.0, 0.2, 0, 0], [2.0, -6.0, 0, 0], [2.0, 0, 10.0, 0]]),
    "towards uniformity": np.array([[2.0, 0.2, 0, 0], [0.1, 0, 0, 0], [0.1, 0, 0, 0]]),
    "amplified": np.array([[2.0, 0, 0.2, 0], [2.0, 0, 0.4, 0], [2.0, 0, 0.8, 0]]),
}


def chains(models: np.ndarray) -> dict[int, list[tuple[Any, Any]]]:
    mirror = Mirror(*drawn(), TRUE)
    found: dict[int, list[tuple[Any, Any]]] = {}
    for seed in (0, 1, 2):
        generator, before = np.random.default_rng(seed), None
        for w in models:
            own = w + 0.01 * generator.normal(size=4)
            past = {} if before is None else mirror.carried(before, own)
            found.setdefault(seed, []).append((mirror.of(own) | past, mirror.itself))
            before = own
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_phenomenon_of_made_labels_is_named_and_no_other(kind: str, happening: Callable[..., set[str]]) -> None:
    assert happening(DOMAIN, chains(KINDS[kind])) == {kind}


def test_labels_that_stay_as_they_are_while_losses_rise_only_blow_up(happening: Callable[..., set[str]]) -> None:
    same = np.repeat([[2.0, 0.2, 0, 0]], 3, axis=0)
    assert happening(DOMAIN, chains(same), (1.0, 1.3, 1.6)) == {"blows up"}
