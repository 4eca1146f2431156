"""The parameters of one simulation, and its random streams."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from selfloop.data.regimes import TrainingSet
from selfloop.domains.linear import theory
from selfloop.domains.linear.config import Chains
from selfloop.domains.linear.data.sources import covariance
from selfloop.domains.linear.theory import Array
from selfloop.errors import UserError
from selfloop.identity import digest, short
from selfloop.simulation import law
from selfloop.simulation.config import sets_of

DATA, NOISE, PICKS = range(3)  # purposes of random streams; from PICKS + 1 on, redraws of duplicates


@dataclass(frozen=True)
class Scenario:
    """Parameters of one simulation.

    Attributes:
        d: input dimension.
        T: rows of real data, and of synthetic data per part.
        sigma2: variance of the label noise, real and synthetic.
        regime: one of `theory.REGIMES`, or the name of another one, with its training sets.
        iterations: model-fitting iterations.
        covariance: Σ as nested rows; None for the identity.
        ridge: λ ≥ 0 in (1/N)‖Xw - y‖² + λ‖w‖² over a training set of N rows; per row, so that λ means the same as
            training sets grow. 0 is least squares, as in the paper.
        w_star: the true parameters; None for the unit vector (1, …, 1)/√d. The error of least squares does not depend
            on it.
        sets: the training sets of the other regime, from iteration 1 on.

    Raises:
        UserError: a value out of range.
    """

    d: int
    T: int
    sigma2: float
    regime: str
    iterations: int = 100
    covariance: tuple[tuple[float, ...], ...] | None = None
    ridge: float = 0.0
    w_star: tuple[float, ...] | None = None
    sets: tuple[TrainingSet, ...] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("d", "T", "iterations"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        theory.check_positive("sigma2", self.sigma2)
        if self.regime not in theory.REGIMES and self.sets is None:
            raise UserError(f"regime is {self.regime!r}; the simulation knows {', '.join(theory.REGIMES)}")
        if not (np.isfinite(self.ridge) and self.ridge >= 0):
            raise UserError(f"ridge is {self.ridge}; it must be a finite number, 0 or above")
        if self.d > self.T and self.ridge == 0:
            raise UserError(f"T is {self.T} with d={self.d}; least squares needs T >= d, or a ridge penalty above 0")
        if self.w_star is not None and (len(self.w_star) != self.d or not np.isfinite(self.w_star).all()):
            raise UserError(f"w_star has {len(self.w_star)} numbers; it must hold d={self.d} finite numbers")
        theory.cholesky(self.covariance, self.d)
        # Tuples instead of lists and arrays make a scenario hashable.
        if self.covariance is not None:
            object.__setattr__(self, "covariance", tuple(tuple(map(float, row)) for row in self.covariance))
        if self.w_star is not None:
            object.__setattr__(self, "w_star", tuple(map(float, self.w_star)))

    @property
    def whole(self) -> bool:
        """Whether its training sets take whole parts of one X: then least squares has a law."""
        return self.regime != theory.SUBSAMPLE if self.sets is None else law.whole(self.sets)

    @property
    def factor(self) -> Array:
        """L (d, d), lower triangular, with Σ = LLᵀ."""
        return theory.cholesky(self.covariance, self.d)

    @property
    def target(self) -> Array:
        """w* (d,)."""
        return np.full(self.d, self.d**-0.5) if self.w_star is None else np.array(self.w_star)

    @property
    def label(self) -> str:
        """The scenario in the tables' `model` column, e.g. "d=10, T=100, sigma2=1.0"; the regime has its own column."""
        label = f"d={self.d}, T={self.T}, sigma2={float(self.sigma2)}"
        if self.ridge:
            label += f", ridge={float(self.ridge)}"
        for name in ("covariance", "w_star"):
            if getattr(self, name) is not None:
                label += f", {name}={short(digest(getattr(self, name)))}"
        return label


def scenario_of(chains: Chains) -> Scenario:
    """The scenario of a study's simulation.

    Raises:
        UserError: a value out of range.
    """
    return Scenario(
        d=chains.dimension,
        T=chains.rows,
        sigma2=chains.noise_variance,
        regime=chains.regime,
        iterations=chains.iterations,
        covariance=covariance(chains),
        ridge=chains.ridge,
        w_star=None if chains.w_star is None else tuple(chains.w_star),
        sets=None if chains.table is None else tuple(sets_of(chains.regime, chains.table, chains.iterations)),
    )


def generator(scenario: Scenario, path: str, block: int, purpose: int) -> np.random.Generator:
    """The random stream of one block of seeds, one code path and one purpose."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([_stream(scenario, path), block, purpose])))


@lru_cache
def _stream(scenario: Scenario, path: str) -> int:
    return int(digest([scenario.d, scenario.T, float(scenario.sigma2), scenario.covariance, path]), 16)
