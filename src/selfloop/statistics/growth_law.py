"""Which law a loop's late growth follows: linear, logarithmic, or bounded.

The value at iteration n is modelled as

    y_n = a + J·[n ≥ 2] + b·Σ_{3≤k≤n} (k - 1/2)^-p,    covariance s_e² I + s_w² min(i, j)

with an intercept a per seed. J is the step from real to synthetic data, apart from what follows: without it, a jump
passes for a law that levels off. Increments with p = 0, 1, 2 are those of n, log n (log n - log (n-1) is 1/(n - 1/2) up
to O(n^-3)) and of a sum that converges. s_e is the noise of one training, s_w what an iteration hands on to the next.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import fdtri

FEWEST_ITERATIONS = 8  # in fewer, the three laws cannot be told apart at the noise of real studies
EXPONENTS = np.linspace(0.0, 4.0, 81)
RATIOS = np.concatenate([[0.0], np.geomspace(1e-3, 1e2, 11)])  # of s_w² to s_e²


@dataclass(frozen=True)
class Law:
    """The exponent p of the late increments, and the ends of its 95% interval, cut off at 0 and 4."""

    exponent: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """What the interval allows to say; "bounded" only if it lies above 1."""
        if self.low == self.high:  # known
            return ("linear", "logarithmic", "bounded")[min(2, round(self.exponent))]
        if self.low > 1:
            return "bounded"
        if self.high < 1:
            return "faster than a logarithm" if self.low > 0 else "linear"
        return "unbounded or bounded, these seeds cannot tell"


def growth_law(values: np.ndarray) -> Law | None:
    """The law of chains, by maximum likelihood, with an interval by the likelihood ratio in its F form.

    Args:
        values: (seeds, iterations), from iteration 1 on, all finite.

    Returns:
        None for fewer than two seeds or `FEWEST_ITERATIONS` iterations.
    """
    seeds, iterations = values.shape
    if seeds < 2 or iterations < FEWEST_ITERATIONS:
        return None
    whitened, unexplained, log_determinants = _model(iterations)
    centre = values.mean(axis=0)
    spread = values - centre
    within = np.einsum("si,rij,sj->r", spread, whitened, spread)
    residual = within[:, None] + seeds * np.einsum("i,rpij,j->rp", centre, unexplained, centre)
    count = seeds * (iterations - 1)
    # Seeds that are all alike leave nothing; the smallest number keeps the logarithm finite.
    likelihood = -0.5 * (count - 2) * np.log(np.maximum(residual, 1e-300)) - 0.5 * seeds * log_determinants[:, None]
    profile = likelihood.max(axis=0)
    threshold = 0.5 * (count - 2) * np.log1p(fdtri(1, count - 3, 0.95) / (count - 3))
    inside = np.flatnonzero(profile >= profile.max() - threshold)
    # The ends lie between these exponents and the next ones outside.
    low, high = EXPONENTS[max(inside[0] - 1, 0)], EXPONENTS[min(inside[-1] + 1, len(EXPONENTS) - 1)]
    return Law(float(EXPONENTS[profile.argmax()]), float(low), float(high))


def exact_law(values: np.ndarray) -> Law | None:
    """The law of a loop whose mean losses (N,) are known, from the increments at half of N and at N.

    Returns:
        None for fewer than `FEWEST_ITERATIONS`, or for losses that do not rise.
    """
    count = len(values)
    late, end = np.diff(values)[[count // 2 - 1, -1]]
    if count < FEWEST_ITERATIONS or min(late, end) <= 0:
        return None
    exponent = float(np.log(late / end) / np.log((count - 0.5) / (count // 2 + 0.5)))
    return Law(exponent, exponent, exponent)


@lru_cache(maxsize=8)
def _model(iterations: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quadratic forms of the likelihood: by ratio, of all but the intercepts; by ratio and exponent, of what the law
    leaves unexplained; and by ratio the logarithm of the covariance's determinant."""
    n = np.arange(1, iterations + 1)
    # Contrasts, orthogonal to the intercepts.
    contrasts = np.linalg.qr(np.column_stack([np.ones(iterations), np.eye(iterations)[:, :-1]]))[0][:, 1:].T
    jump = (n >= 2).astype(float)
    laws = [np.cumsum(np.where(n >= 3, (n - 0.5) ** -p, 0.0)) for p in EXPONENTS]
    whitened, unexplained, log_determinants = [], [], []
    for ratio in RATIOS:
        covariance = contrasts @ (np.eye(iterations) + ratio * np.minimum.outer(n, n)) @ contrasts.T
        root = np.linalg.cholesky(covariance)
        white = np.linalg.solve(root, contrasts)
        whitened.append(white.T @ white)
        log_determinants.append(2 * np.log(np.diag(root)).sum())
        forms = []
        for law in laws:
            basis = np.linalg.qr(white @ np.column_stack([jump, law]))[0]
            left = white - basis @ (basis.T @ white)
            forms.append(left.T @ left)
        unexplained.append(forms)
    return np.array(whitened), np.array(unexplained), np.array(log_determinants)
