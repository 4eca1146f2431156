"""How sampled vectors differ from real ones: numbers worked out by hand, and made samples of every kind."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import multivariate_normal

from selfloop.data.atomic import atomic_folder
from selfloop.data.profile_rows import Params
from selfloop.domains.gaussian.domain import DOMAIN as GAUSSIAN
from selfloop.domains.gaussian.model import Model
from selfloop.domains.gaussian.model import save_checkpoint as save_gaussian
from selfloop.domains.gaussian.steps import measure_profile as of_gaussian
from selfloop.domains.kde.domain import DOMAIN as KDE
from selfloop.domains.kde.model import Model as Density
from selfloop.domains.kde.model import save_checkpoint as save_density
from selfloop.domains.kde.steps import measure_profile as of_density
from selfloop.domains.vector_profile import TAIL, measures, real_of, successive
from selfloop.domains.vectors import Array, write_rows
from selfloop.jobs.job import Job

EXACT = 2**0.5 * np.concatenate([np.eye(2), -np.eye(2)])  # the test rows of N(0, I) in the plane


def test_the_moments_are_in_the_metric_of_real_rows() -> None:
    generator = np.random.default_rng(0)
    A = np.array([[2.0, 0.0], [1.0, 0.5]])
    test, part = generator.normal(size=(500, 2)) @ A.T, 1 + 3 * generator.normal(size=(400, 2)) @ A.T
    found, real = measures(part, real_of(test, normal=False)), np.cov(test.T, bias=True)
    ratio = np.linalg.det(np.cov(part.T)) / np.linalg.det(real)
    assert found["log_variance"] == pytest.approx(math.log(ratio) / 2)
    assert found["covariance_trace_ratio"] == pytest.approx(np.trace(np.linalg.solve(real, np.cov(part.T))) / 2)
    off = part.mean(axis=0) - test.mean(axis=0)
    assert found["mean_shift"] == pytest.approx(off @ np.linalg.solve(real, off) / 2)


def test_a_direction_in_which_real_rows_do_not_vary_does_not_count() -> None:
    test = np.random.default_rng(0).normal(size=(50, 3)) * [1, 1, 0]
    assert real_of(test, normal=False).whitening.shape == (3, 2)
    assert np.isfinite(list(measures(test, real_of(test, normal=False)).values())).all()


def test_tails_are_those_of_the_normal_distribution_or_of_the_rows_themselves() -> None:
    radius = real_of(EXACT, normal=True).radius
    assert multivariate_normal(np.zeros(2)).pdf([radius, 0]) == pytest.approx(TAIL / (2 * math.pi))  # 1 - F = 2π f
    test = np.random.default_rng(0).uniform(size=(1000, 2))
    own = real_of(test, normal=False)
    assert own.tail == measures(test, own)["tail_mass"] == pytest.approx(TAIL)


def test_kappa_is_the_share_of_an_error_that_the_next_one_has() -> None:
    found = successive(np.array([1.0, 1.0]), np.array([2.0, 0.0]))
    assert found == pytest.approx({"kappa": 0.5, "kappa_weight": 4.0, "cosine": 0.5**0.5})
    assert math.isnan(successive(np.ones(2), np.zeros(2))["kappa"])


def link(folder: Path, name: str, before: str | None) -> dict[str, Any]:
    previous = None if before is None else str(folder / before)
    return {
        "part": str(folder / name),
        "previous": previous,
        "checkpoint": str(folder / f"{name}-model"),
        "sampling": {},
    }


@pytest.mark.parametrize("step", [of_gaussian, of_density])
def test_the_error_of_the_mean_is_that_of_the_model_and_left_out_where_that_is_deleted(
    step: Any, tmp_path: Path
) -> None:
    write_rows(tmp_path / "test", EXACT)
    for name, mean in (("a", [1.0, 0.0]), ("b", [2.0, 1.0]), ("c", [0.0, 0.0])):
        write_rows(tmp_path / name, EXACT + mean)
        points = np.array([[mean[0] - 1, mean[1]], [mean[0] + 3, mean[1]]])
        with atomic_folder(tmp_path / f"{name}-model") as scratch:
            if step is of_gaussian:
                save_gaussian(Model(np.array(mean), np.eye(2)), scratch)
            else:
                save_density(Density(points, np.array([0.75, 0.25]), 0.5), scratch)
    (tmp_path / "c-model").rename(tmp_path / "gone")
    links = [link(tmp_path, "a", None), link(tmp_path, "b", "a"), link(tmp_path, "c", "b")]
    inputs, outputs = {"test": str(tmp_path / "test")}, {"profile": str(tmp_path / "profile.parquet")}
    step.run(Job(inputs, outputs, Params.model_validate({"links": links})))
    rows = pq.read_table(outputs["profile"]).to_pylist()
    kappa = {Path(row["part"]).name: row["value"] for row in rows if row["measure"] == "kappa"}
    assert kappa == pytest.approx({"b": 2.0})
    shift = {Path(row["part"]).name: (row["value"], row["real"]) for row in rows if row["measure"] == "mean_shift"}
    assert shift == {name: pytest.approx((off, 0)) for name, off in (("a", 0.5), ("b", 2.5), ("c", 0.0))}


KINDS: dict[str, list[dict[str, float]]] = {
    "modal collapse": [{"scale": 1.0}, {"scale": 0.8}, {"scale": 0.5}],
    "towards uniformity": [{"scale": 1.0}, {"scale": 1.3}, {"scale": 1.7}],
    "amplified": [{"shift": 0.1}, {"shift": 0.2}, {"shift": 0.4}],
}


def draw(seed: int, scale: float = 1.0, shift: float = 0.1) -> tuple[Array, Array]:
    """Normal rows of a mean and a standard deviation, and the error of a mean that hardly depends on the seed."""
    generator = np.random.default_rng(seed)
    error = np.array([shift, 0.01 * generator.normal() * shift])
    return error + scale * generator.normal(size=(1000, 2)), error


def chains(kind: list[dict[str, float]], normal: bool) -> dict[int, list[tuple[Any, Any]]]:
    real = real_of(EXACT if normal else draw(1000, shift=0.0)[0], normal)
    found: dict[int, list[tuple[Any, Any]]] = {}
    for seed in (0, 1, 2):
        before: Array | None = None
        for n, how in enumerate(kind):
            rows, error = draw(10 * seed + n, **how)
            past = {} if before is None else successive(error, before)
            found.setdefault(seed, []).append((measures(rows, real) | past, real.itself))
            before = error
    return found


@pytest.mark.parametrize("domain", [GAUSSIAN, KDE])
@pytest.mark.parametrize("kind", KINDS)
def test_each_phenomenon_of_made_vectors_is_named_and_no_other(
    kind: str, domain: Any, happening: Callable[..., set[str]]
) -> None:
    assert happening(domain, chains(KINDS[kind], domain is GAUSSIAN)) == {kind}


@pytest.mark.parametrize("domain", [GAUSSIAN, KDE])
def test_vectors_that_stay_as_they_are_while_losses_rise_only_blow_up(
    domain: Any, happening: Callable[..., set[str]]
) -> None:
    assert happening(domain, chains([{}, {}, {}], domain is GAUSSIAN), (1.0, 1.3, 1.6)) == {"blows up"}
