"""accumulate-subsample at scale: no formula, so rows, noise and picks are drawn in full, but nothing is stacked.

A pick of T rows out of the pool of nT is a count and a sum per distinct row of X. What each iteration's Gram matrix is
depends on the counts alone, not on the models before it: all of them are formed before the first fit, as one matrix
product of counts (iterations, T) and products of coordinates (T, d²) where d is small. Seeds go side by side in blocks.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from selfloop.domains.linear.simulation.setting import DATA, NOISE, PICKS, Setting, generator
from selfloop.domains.linear.theory import Array, Integers

BLOCK_ROWS = 5000  # rows of X in a block of seeds: one iteration's arrays stay in a core's cache
BLOCK_SEEDS = 100  # at most; more would draw in vain for studies of fewer seeds
BLOCK_NUMBERS = 1 << 19  # products of coordinates held at a time
# The product of counts and products of coordinates does d² T operations per iteration at the full rate, the symmetric
# product of the distinct rows (63% of T in the long run) a third of that, but copies them first: equal near this d.
PRODUCTS_UP_TO = 48
INVERTED_UP_TO = 8  # dimension up to which inverting all matrices together beats solving with LAPACK one by one

Picks = npt.NDArray[np.signedinteger]


def lanes(T: int) -> int:
    """Seeds in a block, which draw side by side."""
    return max(1, min(BLOCK_SEEDS, BLOCK_ROWS // T))


def run_block(setting: Setting, block: int, which: Integers) -> Array:
    """Simulate some seeds of a block; the block is always drawn whole, so they do not depend on each other.

    Args:
        setting: of the regime accumulate-subsample.
        block: its number; seed s is lane s mod `lanes(T)` of block s // `lanes(T)`.
        which: the lanes asked for.

    Returns:
        Their errors, (len(which), iterations).
    """
    T, width = setting.T, lanes(setting.T)
    X = generator(setting, "rows", block, DATA).standard_normal((width, T, setting.d))
    noise = generator(setting, "rows", block, NOISE).standard_normal((setting.iterations, width, T))
    rounds = (generator(setting, "rows", block, PICKS + r) for r in itertools.count())
    picks = draw_picks(rounds, setting.iterations, width, T)
    if len(which) < width:
        X, noise, picks = X[which], noise.take(which, axis=1), picks[:, which]
    return subsample_errors(setting, X if setting.covariance is None else X @ setting.factor.T, noise, picks)


def draw_picks(rounds: Iterator[np.random.Generator], iterations: int, width: int, T: int) -> Picks:
    """For each iteration n and lane, T different rows of the pool of nT, every set equally likely; in ascending order.

    All rows are drawn at once with replacement, and what was picked twice is drawn again until nothing is: the first T
    different values of one long sequence, which is a uniform set. Each round has a stream of its own, iteration by
    iteration, so that a longer run begins with the picks of a shorter one.

    Returns:
        (iterations, width, T).
    """
    pool = np.arange(1.0, iterations + 1) * T
    drawn = next(rounds).random((iterations, width, T))
    drawn *= pool[:, None, None]
    picks: Picks = drawn.astype(np.int32) if drawn.size < 2**31 else drawn.astype(np.int64)
    picks[0] = np.arange(T)  # all there is, which drawing again would find late
    picks.sort(axis=2)
    sets = picks.reshape(-1, T)
    numbers, suspects = np.arange(len(sets)), sets
    while True:
        flat = suspects.reshape(-1)
        twice = np.flatnonzero(flat[1:] == flat[:-1])
        twice = twice[twice % T < T - 1]  # the end of one set beside the beginning of the next
        if not len(twice):
            return picks
        of = twice // T
        flat[twice] = next(rounds).random(len(twice)) * pool[numbers[of] // width]
        of = of[np.append(True, of[1:] > of[:-1])]
        numbers, suspects = numbers[of], suspects[of]
        suspects.sort(axis=1)
        sets[numbers] = suspects


def subsample_errors(setting: Setting, X: Array, noise: Array, picks: Picks) -> Array:
    """The errors of accumulate-subsample, (seeds, iterations).

    A pick without full column rank (fewer than d distinct rows; possible, and rare) is fitted with the minimum norm,
    as a pseudo-inverse would.

    Args:
        setting: least squares or ridge.
        X: real rows (seeds, T, d).
        noise: ξ, standard normal, (iterations, seeds, T), contiguous; overwritten.
        picks: rows of the pool that iteration i trains on, in [0, i·T), (iterations, seeds, T), where row k·T + j is
            row j of X as labelled for iteration k + 1.
    """
    seeds, T, d = X.shape
    iterations = len(noise)
    penalty = setting.ridge * T
    rows, places, count = _places(picks, T)
    gram = _gram_matrices(X, count)
    if penalty:
        gram += penalty * np.eye(d)
        thin = {}
    else:
        thin = _without_rank(count, d)
        for n, which in thin.items():
            gram[n, which] = np.eye(d)
    inverse = _inverses(gram) if d <= INVERTED_UP_TO else None

    # What the labels differ by from Xw*, all that least squares needs of them; in units of sigma, as all that follows.
    pool, w_star = noise, setting.target / setting.sigma2**0.5
    labels, columns = pool.reshape(-1), X.swapaxes(1, 2)
    away = np.zeros((iterations, seeds, d, 1))  # ŵ - w*
    for n in range(iterations):
        if n:
            pool[n] += (X @ away[n - 1])[..., 0]
        sums = np.asarray(np.bincount(rows[n], labels.take(places[n]), seeds * T), dtype=np.float64)
        total = sums.reshape(seeds, T, 1)
        right = columns @ total
        if penalty:
            right -= penalty * w_star[:, None]
        away[n] = np.linalg.solve(gram[n], right) if inverse is None else inverse[n] @ right
        for s in thin.get(n, ()):
            away[n, s, :, 0] = _minimum_norm(X[s], count[n, s], total[s, :, 0], w_star)
    # Row vectors: ‖ŵ - w*‖²_Σ = ‖(ŵ - w*)ᵀL‖².
    weighted = (away.reshape(-1, d) @ setting.factor).reshape(iterations, seeds, d)
    return np.asarray(setting.sigma2 * np.einsum("nsd,nsd->sn", weighted, weighted))


def _places(picks: Picks, T: int) -> tuple[Integers, Picks, Array]:
    """Where the picked rows (iterations, seeds, T) lie, seeds' rows being numbered on.

    Returns:
        Their rows of X, (iterations, seeds · T); their labels in the pool, of the same shape, in the pool's order
        (iteration, seed, row); how often each row of X is picked, (iterations, seeds, T).
    """
    iterations, seeds, _ = picks.shape
    first = np.repeat(np.arange(seeds, dtype=picks.dtype) * T, T)
    rows = np.empty((iterations, seeds * T), dtype=np.int64)
    labels, count = np.empty_like(rows, dtype=picks.dtype), np.empty(rows.shape)
    for n, pick in enumerate(picks.reshape(iterations, -1)):  # all that is done to one iteration stays in the cache
        part = pick // T
        row = pick - part * T + first
        rows[n] = row
        labels[n] = row + part * (seeds * T)
        count[n] = np.bincount(rows[n], minlength=seeds * T)
    return rows, labels, count.reshape(picks.shape)


def _without_rank(count: Array, d: int) -> dict[int, Integers]:
    """The seeds that pick fewer than d distinct rows, for each iteration with some (in general position, d suffice)."""
    T = count.shape[2]
    # There are at least T / (the largest count) of them; only where that does not settle it are they counted.
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
    """The inverses of many small positive definite matrices (iterations, seeds, d, d), by Gauss-Jordan without pivots.

    All matrices take each step together: LAPACK's call for one of them costs more than its arithmetic.
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
