"""The law of a loop's late growth, on chains that follow a known one."""

from collections.abc import Callable

import numpy as np
import pytest

from selfloop.statistics.growth_law import exact_law, growth_law

SUMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda n: n,
    "log n": np.log,
    "sum of 1/k": lambda n: np.cumsum(1 / n),
    "sum of 1/k²": lambda n: np.cumsum(1 / n**2),
    "jump": lambda n: 1.0 * (n >= 2),
}


def chains(law: str, noise: float, carried: float, seeds: int = 5, iterations: int = 10, seed: int = 0) -> np.ndarray:
    """Seeds that rise by 0.6 in all, with levels and noise of their own."""
    generator = np.random.default_rng(seed)
    values = SUMS[law](np.arange(1.0, iterations + 1))
    values = 0.6 * (values - values[0]) / (values[-1] - values[0])
    walk = np.cumsum(generator.normal(0, carried, (seeds, iterations)), axis=1)
    return values + generator.normal(0, 1, (seeds, 1)) + walk + generator.normal(0, noise, (seeds, iterations))


@pytest.mark.parametrize(("law", "name"), [("linear", "linear"), ("sum of 1/k²", "bounded")])
def test_a_law_is_recognised_whatever_the_levels_of_the_seeds(law: str, name: str) -> None:
    found = growth_law(chains(law, noise=0.005, carried=0.0))
    assert found is not None
    assert found.name == name


def share_of(law: str, name: str, runs: int = 300) -> float:
    """How often chains of a law get a name."""
    found = (growth_law(chains(law, noise=0.01, carried=0.02, seed=run)) for run in range(runs))
    return float(np.mean([each is not None and each.name == name for each in found]))


@pytest.mark.parametrize("law", ["log n", "sum of 1/k"])
def test_a_logarithm_is_hardly_ever_called_bounded(law: str) -> None:
    assert share_of(law, "bounded") <= 0.05


def test_a_jump_is_no_law_of_growth() -> None:
    """What came at once says nothing of what follows."""
    assert share_of("jump", "bounded") <= 0.05
    assert share_of("jump", "linear") <= 0.05


def test_seven_iterations_or_one_seed_have_no_law() -> None:
    assert growth_law(chains("linear", 0.01, 0.0, iterations=7)) is None
    assert growth_law(chains("linear", 0.01, 0.0, seeds=1)) is None


@pytest.mark.parametrize(
    ("law", "name"), [("linear", "linear"), ("sum of 1/k", "logarithmic"), ("sum of 1/k²", "bounded")]
)
def test_theory_s_laws_have_their_names(law: str, name: str) -> None:
    found = exact_law(SUMS[law](np.arange(1.0, 101)))
    assert found is not None
    assert found.name == name
    assert exact_law(np.ones(100)) is None
