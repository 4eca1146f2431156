"""accumulate-subsample at scale: without a formula, rows, noise and picks are drawn in full, but nothing is stacked.

A pick of T rows from the pool of nT is a count and a sum per distinct row of X. Gram matrices depend on the counts
alone, not on earlier models, so all are formed before the first fit; for small d as one matrix product of counts
(iterations, T) and products of coordinates (T, d²). Seeds are vectorised in blocks.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from selfloop.domains.linear.simulation.scenario import DATA, NOISE, PICKS, Scenario, generator
from selfloop.domains.linear.theory import Array, Integers

BLOCK_ROWS = 5000  # rows of X in a block of seeds: one iteration's arrays fit a core's cache
BLOCK_SEEDS = 100  # at most; larger blocks would be wasted on studies of fewer seeds
BLOCK_NUMBERS = 1 << 19  # products of coordinates in memory at a time
# The product of counts and products of coordinates does d² T operations per iteration at the full rate, the symmetric
# product of the distinct rows (63% of T in the long run) a third of that, but copies them first: equal near this d.
PRODUCTS_UP_TO = 48
INVERTED_UP_TO = 8  # dimension up to which vectorised inversion beats LAPACK's solve per matrix

Picks = npt.NDArray[np.signedinteger]


def lanes(T: int) -> int:
    """Seeds per block."""
    return max(1, min(BLOCK_SEEDS, BLOCK_ROWS // T))


def run_block(scenario: Scenario, block: int, which: Integers) -> Array:
    """Simulate some seeds of a block, which is always drawn whole, so that seeds do not depend on each other.

    Args:
        scenario: of the regime accumulate-subsample.
        block: seed s is lane s mod `lanes(T)` of block s // `lanes(T)`.
        which: lanes to simulate.

    Returns:
        errors, (len(which), iterations).
    """
    T, width = scenario.T, lanes(scenario.T)
    X = generator(scenario, "rows", block, DATA).standard_normal((width, T, scenario.d))
    noise = generator(scenario, "rows", block, NOISE).standard_normal((scenario.iterations, width, T))
    rounds = (generator(scenario, "rows", block, PICKS + r) for r in itertools.count())
    picks = draw_picks(rounds, scenario.iterations, width, T)
    if len(which) < width:
        X, noise, picks = X[which], noise.take(which, axis=1), picks[:, which]
    return subsample_errors(scenario, X if scenario.covariance is None else X @ scenario.factor.T, noise, picks)


def draw_picks(rounds: Iterator[np.random.Generator], iterations: int, width: int, T: int) -> Picks:
    """For each iteration n and lane, a uniform random set of T rows of the pool of nT, in ascending order.

    All rows are drawn at once with replacement, and duplicates redrawn until there are none: the first T distinct
    values of a sequence, hence a uniform set. Each round has its own stream, iteration by iteration, so that a longer
    run begins with the picks of a shorter one.

    Returns:
        (iterations, width, T).
    """
    pool = np.arange(1.0, iterations + 1) * T
    drawn = next(rounds).random((iterations, width, T))
    drawn *= pool[:, None, None]
    picks: Picks = drawn.astype(np.int32) if drawn.size < 2**31 else drawn.astype(np.int64)
    picks[0] = np.arange(T)  # the whole pool, which redrawing would take long to find
    picks.sort(axis=2)
    sets = picks.reshape(-1, T)
    numbers, suspects = np.arange(len(sets)), sets
    while True:
        flat = suspects.reshape(-1)
        twice = np.flatnonzero(flat[1:] == flat[:-1])
        twice = twice[twice % T < T - 1]  # not across the boundary of two sets
        if not len(twice):
            return picks
        of = twice // T
        flat[twice] = next(rounds).random(len(twice)) * pool[numbers[of] // width]
        of = of[np.append(True, of[1:] > of[:-1])]
        numbers, suspects = numbers[of], suspects[of]
        suspects.sort(axis=1)
        sets[numbers] = suspects


def subsample_errors(scenario: Scenario, X: Array, noise: Array, picks: Picks) -> Array:
    """The errors of accumulate-subsample, (seeds, iterations).

    A pick without full column rank (fewer than d distinct rows, which is rare) gets the minimum-norm fit.

    Args:
        scenario: least squares or ridge.
        X: real rows (seeds, T, d).
        noise: ξ, standard normal, (iterations, seeds, T), contiguous; overwritten.
        picks: rows of the pool that iteration i trains on, in [0, i·T), (iterations, seeds, T), where row k·T + j is
            row j of X as labelled for iteration k + 1.
    """
    seeds, T, d = X.shape
    iterations = len(noise)
    penalty = scenario.ridge * T
    rows, label_rows, count = _indices(picks, T)
    gram = _gram_matrices(X, count)
    if penalty:
        gram += penalty * np.eye(d)
        thin = {}
    else:
        thin = _without_rank(count, d)
        for n, which in thin.items():
            gram[n, which] = np.eye(d)
    inverse = _inverses(gram) if d <= INVERTED_UP_TO else None

    # Label residuals from Xw*, all that least squares needs; in units of sigma, like everything below.
    pool, w_star = noise, scenario.target / scenario.sigma2**0.5
    labels, columns = pool.reshape(-1), X.swapaxes(1, 2)
    away = np.zeros((iterations, seeds, d, 1))  # ŵ - w*
    for n in range(iterations):
        if n:
            pool[n] += (X @ away[n - 1])[..., 0]
        sums = np.asarray(np.bincount(rows[n], labels.take(label_rows[n]), seeds * T), dtype=np.float64)
        total = sums.reshape(seeds, T, 1)
        right = columns @ total
        if penalty:
            right -= penalty * w_star[:, None]
        away[n] = np.linalg.solve(gram[n], right) if inverse is None else inverse[n] @ right
        for s in thin.get(n, ()):
            away[n, s, :, 0] = _minimum_norm(X[s], count[n, s], total[s, :, 0], w_star)
    # Row vectors: ‖ŵ - w*‖²_Σ = ‖(ŵ - w*)ᵀL‖².
    weighted = (away.reshape(-1, d) @ scenario.factor).reshape(iterations, seeds, d)
    return np.asarray(scenario.sigma2 * np.einsum("nsd,nsd->sn", weighted, weighted))


def _indices(picks: Picks, T: int) -> tuple[Integers, Picks, Array]:
    """Flat indices of the picked rows (iterations, seeds, T); seeds' rows are numbered consecutively.

    Returns:
        rows of X, (iterations, seeds · T); labels in the pool's order (iteration, seed, row), of the same shape; counts
        of each row of X, (iterations, seeds, T).
    """
    iterations, seeds, _ = picks.shape
    first = np.repeat(np.arange(seeds, dtype=picks.dtype) * T, T)
    rows = np.empty((iterations, seeds * T), dtype=np.int64)
    labels, count = np.empty_like(rows, dtype=picks.dtype), np.empty(rows.shape)
    for n, pick in enumerate(picks.reshape(iterations, -1)):  # per iteration, to stay in the cache
        part = pick // T
        row = pick - part * T + first
        rows[n] = row
        labels[n] = row + part * (seeds * T)
        count[n] = np.bincount(rows[n], minlength=seeds * T)
    return rows, labels, count.reshape(picks.shape)


def _without_rank(count: Array, d: int) -> dict[int, Integers]:
    """By iteration, the seeds that pick fewer than d distinct rows (d suffice in general position)."""
    T = count.shape[2]
    # There are at least T / (largest count) distinct rows; they are counted only where that is less than d.
    unsettled = np.flatnonzero(count.reshape(len(count), -1).max(axis=1) * d > T).tolist() if d > 1 else []
    few = {n: np.flatnonzero(np.count_nonzero(count[n], axis=1) < d) for n in unsettled}
    return {n: which for n, which in few.items() if len(which)}


def _gram_matrices(X: Array, count: Array) -> Array:
    """Σ_j count_j x_j x_jᵀ over the rows of X.

    Args:
        X: (seeds, T, d).
        count: (iterations, seeds, T).

    Returns:
        (iterations, seeds, d, d).
    """
    iterations, (seeds, T, d) = len(count), X.shape
    gram = np.empty((iterations, seeds, d, d))
    if d <= PRODUCTS_UP_TO:
        step = max(1, BLOCK_NUMBERS // (T * d * d))
        for s in range(0, seeds, step):
            x = X[s : s + step]
            products = (x[..., :, None] * x[..., None, :]).reshape(len(x), T, d * d)
            sums = count[:, s : s + step].swapaxes(0, 1) @ products
            gram[:, s : s + step] = sums.swapaxes(0, 1).reshape(iterations, len(x), d, d)
        return gram
    for n, s in np.ndindex(iterations, seeds):
        kept = np.flatnonzero(count[n, s])
        weighted = X[s].take(kept, axis=0)
        weighted *= np.sqrt(count[n, s, kept])[:, None]
        np.matmul(weighted.T, weighted, out=gram[n, s])
    return gram


def _inverses(matrices: Array) -> Array:
    """Inverses of many small positive definite matrices (iterations, seeds, d, d) by Gauss-Jordan without pivoting.

    Vectorised over matrices: a LAPACK call per matrix costs more than its arithmetic.
    """
    a = np.ascontiguousarray(np.moveaxis(matrices, (2, 3), (0, 1)))
    for k in range(len(a)):
        pivot = 1 / a[k, k]
        row, column = a[k] * pivot, a[:, k].copy()
        column[k] = 0
        a -= column[:, None] * row
        a[:, k] = -column * pivot
        a[k] = row
        a[k, k] = pivot
    return np.ascontiguousarray(np.moveaxis(a, (0, 1), (2, 3)))


def _minimum_norm(X: Array, count: Array, total: Array, w_star: Array) -> Array:
    """ŵ - w* of the shortest ŵ that fits `count` copies of the rows of X, whose label residuals add up to `total`."""
    kept = np.flatnonzero(count)
    weight = np.sqrt(count[kept])
    A = X[kept] * weight[:, None]
    return np.asarray(np.linalg.lstsq(A, A @ w_star + total[kept] / weight, rcond=None)[0] - w_star)
