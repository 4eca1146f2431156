"""The laws of regimes against simulation, and how long simulations take.

    python benchmarks/laws.py                 everything; minutes on two cores
    python benchmarks/laws.py --only tables   or: regimes, grid, words, logistic, curation

Every point is a mean over seeds at one iteration. Its standard error is the law's own where that is known (a squared
mean of known variance), else by the spread of the seeds. Times are of the processor, little changed by others.
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np

from selfloop.data.choice import Choice, choose
from selfloop.data.regimes import BUILT_IN, Regime, Source
from selfloop.domains.discrete.config import Chains as Discrete
from selfloop.domains.discrete.curation import Curation, curated
from selfloop.domains.discrete.laws import expected as discrete_law
from selfloop.domains.discrete.steps import simulate_chains as discrete
from selfloop.domains.gaussian.config import Chains as Gaussian
from selfloop.domains.gaussian.laws import expected as gaussian_law
from selfloop.domains.gaussian.steps import simulate_chains as gaussian
from selfloop.domains.kde.config import Chains as Kernels
from selfloop.domains.kde.steps import simulate_chains as kernels
from selfloop.domains.logistic.config import Chains as Logistic
from selfloop.domains.logistic.config import Data as LogisticData
from selfloop.domains.logistic.model import fit, measured
from selfloop.domains.logistic.rows import real_rows
from selfloop.domains.logistic.steps import simulate_chains as logistic
from selfloop.simulation.config import table_of, whole_parts
from selfloop.training.malloc import keep_freed_memory

GOLDEN = (math.sqrt(5) - 1) / 2
REPLACE, ACCUMULATE, SUBSAMPLE = (BUILT_IN[name] for name in ("replace", "accumulate", "accumulate-subsample"))
SEEDS = 4000
Array = np.ndarray[Any, np.dtype[np.float64]]
FEWEST = 100  # rows
Law = Callable[[Array, Array, Curation], Array]


@dataclass(frozen=True)
class Points:
    """One row of a table: measured means over seeds against a law, by iteration."""

    name: str
    measured: Array
    law: Array
    error: Array

    @property
    def z(self) -> Array:
        """Distances in standard errors; 0 where both are the same number."""
        away = self.measured - self.law
        same = np.abs(away) <= 1e-9 * np.abs(self.law)
        return np.where(same, 0.0, away / np.where(same, 1.0, self.error))


def report(title: str, rows: Sequence[Points], shown: bool = True) -> None:
    """Print the last point of every row, and how far all points lie from their laws."""
    print(f"\n{title}")
    if shown:
        print(f"{'':<48} {'n':>5} {'law':>10} {'simulated':>10} {'± SE':>9} {'within 3 SE':>12} {'worst':>6}")
    everything = np.concatenate([row.z for row in rows])
    for row in rows if shown else ():
        z, end = row.z, (row.law[-1], row.measured[-1], row.error[-1])
        numbers = " ".join(f"{value:>10.5g}" for value in end)
        print(f"{row.name:<48} {len(z):>5} {numbers} {np.mean(np.abs(z) <= 3):>11.1%} {np.abs(z).max():>6.2f}")
    inside = np.abs(everything) <= 3
    worst = max(rows, key=lambda row: np.abs(row.z).max())
    at = int(np.abs(worst.z).argmax())
    print(
        f"{inside.sum():,} of {len(everything):,} points within 3 SE ({inside.mean():.2%}); "
        f"worst {worst.z[at]:+.2f}: {worst.name}, n={at + 1}",
        flush=True,
    )


def gaussians(regime: Regime, **setting: Any) -> Gaussian:
    """A setting of the Gaussian domain."""
    base = {"dimension": 1, "rows": 100, "covariance": "maximum-likelihood", "temperature": 1.0}
    length = {"iterations": 50, "seeds": SEEDS}
    return Gaussian.model_validate({"regime": regime.name, "table": table_of(regime), **base, **length, **setting})


def gaussian_points(chains: Gaussian, *metrics: str) -> Iterator[Points]:
    """Means of the Gaussian domain against their laws."""
    found, law = gaussian.simulate(chains), gaussian_law(chains, chains.sets, None)
    for metric in metrics:
        values = found[metric]
        error = values.std(axis=0, ddof=1)
        if chains.covariance == "known" and metric == "mean_error":
            error = law[metric] * (2 / chains.dimension) ** 0.5  # a chi-square variable
        name = f"{chains.regime}, {chains.label}, {metric}"
        yield Points(name, values.mean(axis=0), law[metric], error / len(values) ** 0.5)


def own(name: str, *sources: Source, budget: float | None = None) -> Regime:
    """A regime of one's own."""
    return Regime(name, sources, budget)


TABLE_1 = (
    own("fresh .1", Source("fresh", 0.1), Source("previous", 0.9)),
    own("fresh .5", Source("fresh", 0.5), Source("previous", 0.5)),
    own("same .1", Source("real", 0.1, same=True), Source("previous", 0.9)),
    own("same .5", Source("real", 0.5, same=True), Source("previous", 0.5)),
    own("weight .5", Source("fresh", weight=0.5), Source("previous", weight=0.5)),
    own("golden weight", Source("fresh", weight=GOLDEN), Source("previous", weight=1 - GOLDEN)),
    own("window 1", Source("all", last=1)),
    own("window 2", Source("all", last=2)),
    own("window 3", Source("all", last=3)),
    own("growing", Source("previous", tuple(float(n * n) for n in range(2, 11)))),
    REPLACE,
    ACCUMULATE,
    BUILT_IN["replace-multiple"],
    SUBSAMPLE,
)


def tables() -> None:
    """The closed forms of the mean of a Gaussian, of Gaussians, categories, words and kernels."""
    rows = []
    for regime in TABLE_1:
        iterations = 10 if regime.name == "growing" else 50
        rows += gaussian_points(gaussians(regime, covariance="known", iterations=iterations), "mean_error")
    report("1. The mean of a Gaussian of known variance, n=100, under regimes (times 100: error x n / variance)", rows)
    rows = []
    for n, iterations in ((10, 10), (100, 100)):
        for regime in (REPLACE, ACCUMULATE):
            rows += gaussian_points(gaussians(regime, rows=n, iterations=iterations), "mean_error", "variance")
    rows += gaussian_points(gaussians(REPLACE, covariance="unbiased", iterations=1000), "deviation")
    wide = gaussians(REPLACE, dimension=10, iterations=100)
    rows += gaussian_points(wide, "log_determinant", "deviation", "variance")
    rows += gaussian_points(gaussians(REPLACE, covariance="unbiased", temperature=0.9), "variance", "deviation")
    report("2. A Gaussian", rows)
    rows = list(discrete_points(categories(REPLACE), "gini_simpson", "types"))
    rows += discrete_points(categories(ACCUMULATE), "gini_simpson", "types")
    for regime in (REPLACE, ACCUMULATE, SUBSAMPLE):
        own_words = {"source": "packaged", "name": "shakespeare", "types": None, "rows": None, "seeds": 20}
        rows += discrete_points(categories(regime, **own_words), "gini_simpson", "types", "lost_types")
    report("3. Categories, and the words of Shakespeare's plays", rows)
    rows = []
    for regime, h in ((REPLACE, 0.1), (REPLACE, 0.5), (REPLACE, 1.0), (ACCUMULATE, 0.5), (SUBSAMPLE, 0.5)):
        base = {"source": "normal", "dimension": 1, "rows": 20, "test_rows": 2, "bandwidth": h}
        length = {"iterations": 20, "seeds": 1000}
        chains = Kernels.model_validate({"regime": regime.name, "table": table_of(regime), **base, **length})
        values, law = kernels.simulate(chains, np.zeros((2, 1)), None)["variance"], kernels.expected
        error = values.std(axis=0, ddof=1) / len(values) ** 0.5
        name = f"{regime.name}, {chains.label}, variance"
        rows.append(Points(name, values.mean(axis=0), law(chains, chains.sets, None)["variance"], error))
    report("4. Kernel density", rows)


def categories(regime: Regime, **setting: Any) -> Discrete:
    """A setting of the discrete domain."""
    base = {"source": "categories", "types": 300, "rows": 1000, "iterations": 30, "seeds": 400}
    return Discrete.model_validate({"regime": regime.name, "table": table_of(regime), **base, **setting})


def discrete_points(chains: Discrete, *metrics: str) -> Iterator[Points]:
    """Means of the discrete domain against their laws."""
    real, probabilities, test = discrete.counts_of(chains)
    found = discrete.simulate(chains, real, probabilities, test)
    rows = int(real.sum()) if real is not None else chains.rows
    assert rows is not None
    law = discrete_law(chains.sets, rows, test, probabilities, real)
    for metric in metrics:
        values = found[metric]
        error = values.std(axis=0, ddof=1) / len(values) ** 0.5
        yield Points(f"{chains.regime}, {chains.label}, {metric}", values.mean(axis=0), law[metric], error)


def random_regime(generator: np.random.Generator, number: int) -> Regime:
    """A table of whole parts, drawn from the grammar: one to three lines with amounts, ages, windows and weights."""
    sources = []
    for _ in range(generator.integers(1, 4)):
        origin = str(generator.choice(["real", "previous", "all"]))
        amount: float | str | tuple[float, ...] = float(generator.integers(1, 4))
        if generator.random() < 0.3:
            amount = tuple(float(value) for value in generator.integers(1, 4, generator.integers(2, 5)))
        elif generator.random() < 0.15 and origin != "all":
            amount = "iteration"
        weight = float(generator.choice([1.0, 0.5, 2.0, 3.0]))
        last = by_age = None
        if origin == "all" and generator.random() < 0.4:
            last = int(generator.integers(1, 5))
        elif origin == "all" and generator.random() < 0.4:
            by_age = (*map(float, generator.integers(1, 3, 2)), float(generator.integers(0, 2)))
            amount = 1.0
        sources.append(Source(origin, amount, last, by_age, weight))
    return Regime(f"random-{number}", tuple(sources))


def random_points(number: int) -> list[Points]:
    """One random regime, with known and with fitted variance."""
    regime = random_regime(np.random.default_rng([7, number]), number)
    found = []
    for covariance, metrics in (("known", ("mean_error",)), ("maximum-likelihood", ("variance",))):
        # The variance of few rows has a heavy tail after many iterations; of 400 it has not. Settings that differ have
        # random numbers of their own: else all regimes would have the same luck.
        chains = gaussians(regime, covariance=covariance, rows=400 + number, dimension=4, iterations=12, seeds=1000)
        assert whole_parts(chains.sets)
        found += gaussian_points(chains, *metrics)
    return found


def regimes(count: int = 200) -> None:
    """The law of random regimes of whole parts."""
    with pool() as workers:
        rows = [row for found in workers.map(random_points, range(count), chunksize=5) for row in found]
    report(f"5. {count} random regimes of whole parts: the mean's error, and the variance", rows, shown=False)


def pool() -> ProcessPoolExecutor:
    """Two processes, of one thread each as steps are: OpenBLAS reads the variable when numpy is imported."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    return ProcessPoolExecutor(2, get_context("spawn"), initializer=keep_freed_memory)  # as the jobs do


def timed(work: Callable[[], object]) -> float:
    """Seconds of the processor."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


KAZDAN = [(d, n) for d in (1, 3, 10, 31, 100) for n in (10, 32, 100, 316, 1000)]


def kazdan_seconds(place: tuple[int, int, str]) -> float:
    """The time of one setting under one regime: 100 iterations, 100 seeds."""
    d, n, name = place
    return timed(lambda: gaussian.simulate(gaussians(BUILT_IN[name], dimension=d, rows=n, iterations=100, seeds=100)))


def direct_gaussian(regime: str, d: int, n: int, iterations: int, seed: int) -> list[Array]:
    """The loop as it is usually written: rows are drawn, stacked and fitted."""
    generator = np.random.default_rng(seed)
    data = real = generator.standard_normal((n, d))
    pool, found = real, []
    for _ in range(iterations):
        mean, covariance = data.mean(axis=0), np.atleast_2d(np.cov(data.T, bias=True))
        found.append(mean)
        sampled = generator.multivariate_normal(mean, covariance, n, check_valid="ignore")
        pool = np.concatenate([pool, sampled])
        if regime == "replace":
            data = sampled
        elif regime == "accumulate":
            data = pool
        else:
            data = pool[generator.choice(len(pool), n, replace=False)]
    return found


def grid() -> None:
    """Kazdan et al.'s Gaussian grid."""
    places = [(d, n, regime) for d, n in KAZDAN for regime in ("replace", "accumulate", "accumulate-subsample")]
    begin = time.perf_counter()
    with pool() as workers:
        seconds = list(workers.map(kazdan_seconds, sorted(places, key=lambda place: -place[0] * place[1])))
    wall = time.perf_counter() - begin
    direct = sum(timed(partial(direct_gaussian, regime, d, n, 100, 0)) for d, n, regime in places) * 100
    print(
        f"\n6. Kazdan et al.'s grid: {len(KAZDAN)} settings, three regimes, 100 iterations, 100 seeds: {wall:.1f} s on "
        f"two processes, {sum(seconds):.1f} s of the processor; a direct loop (one seed, times 100) {direct:.0f} s: "
        f"{direct / sum(seconds):.0f} times",
        flush=True,
    )


def direct_words(probabilities: Array, rows: int, iterations: int, seed: int) -> list[int]:
    """The loop over words: drawn one by one, and counted."""
    generator = np.random.default_rng(seed)
    p, types = probabilities, np.arange(len(probabilities))
    found = []
    for _ in range(iterations):
        counts = np.bincount(generator.choice(types, rows, p=p), minlength=len(p))
        p = counts / rows
        found.append(int((counts > 0).sum()))
    return found


def words() -> None:
    """A million words of 8,000 types."""
    chains = categories(REPLACE, types=8000, rows=1_000_000, iterations=30, seeds=20)
    given = discrete.counts_of(chains)
    begin = time.perf_counter()
    seconds = timed(lambda: discrete.simulate(chains, *given))
    wall = time.perf_counter() - begin
    direct = timed(lambda: direct_words(given[1], 1_000_000, 30, 0)) * 20
    print(
        f"\n7. A million words of 8,000 types, 30 iterations, 20 seeds: {wall:.1f} s on a process, {seconds:.1f} s of "
        f"the processor; a direct loop (one seed, times 20) {direct:.0f} s: {direct / seconds:.0f} times",
        flush=True,
    )


def direct_logistic(data: LogisticData, iterations: int, seed: int) -> None:
    """The loop by scikit-learn under accumulate, as Dey and Donoho have it."""
    (X, y), _, _ = real_rows(data)
    generator = np.random.default_rng(seed)
    inputs, labels = X, y
    for _ in range(iterations):
        w = fit(inputs, labels, None, 1e-4)
        drawn = generator.random(len(X)) < 1 / (1 + np.exp(-(X @ w[:-1] + w[-1])))
        inputs, labels = np.concatenate([inputs, X]), np.concatenate([labels, drawn.astype(float)])


def patients() -> None:
    """The logistic study's first iteration, and its time."""
    data = LogisticData(source="packaged", name="diabetes", seed=123456)
    (X, y), test, _ = real_rows(data)
    first = float(measured(fit(X, y, None, 1e-4), *test)["log_loss"])
    length = {"iterations": 50, "seeds": 100, "data": data, "tolerance": 1e-4}
    chains = Logistic(regime="accumulate", table=table_of(ACCUMULATE), **length)
    found: list[float] = []
    seconds = timed(lambda: found.extend(logistic.simulate(chains)["log_loss"][:, 0]))
    away = max(abs(value - 0.4284598) for value in (first, *found))
    print(f"\n8. Logistic, diabetes: iteration 1 is {first:.7f}, published .4284598 (off by {away:.1e} at most)")
    direct = timed(lambda: direct_logistic(data, 50, 0)) * 100
    print(f"   50 iterations, 100 seeds: {seconds:.1f} s; a direct loop {direct:.0f} s: {direct / seconds:.0f} times")


def curation_points(
    name: str, law: Law, seeds: int = 60, rows: int = 1000, iterations: int = 8, types: int = 10, **how: Any
) -> Points:
    """Chains of categories that a filter by rewards chooses, against the law of each step, given the model before.

    Left out are points where fewer than `FEWEST` rows of all seeds are expected, or all but as many: such means are not
    normal, and neither is their spread.
    """
    setting = {"keep": "drawn", "each": True, "beta": 1.0, "noise": 0.0, **how}
    rewards = np.linspace(-1, 1, types)
    choice = Choice.model_validate({"name": name, "random": False, **setting})
    rule, count = Curation(rewards={}, **setting), int(setting["candidates"])
    found = np.empty((2, seeds, iterations, len(rewards)))
    for seed in range(seeds):
        generator = np.random.default_rng([8, seed])
        p = np.full(types, 1 / types)
        for iteration in range(iterations):
            drawn = generator.choice(len(p), size=(count, rows), p=p)
            kept = choose(list(rewards[drawn]), [rows] * count, rows, rows, choice, int(generator.integers(2**62)))
            after = np.bincount(drawn.ravel()[kept], minlength=len(p)) / rows
            found[:, seed, iteration] = after, law(p, rewards, rule)
            p = after
    error = (found[0] - found[1]).std(axis=0, ddof=1) / seeds**0.5
    seen, expected = found.mean(axis=1)
    known = np.minimum(expected, 1 - expected) * rows * seeds >= FEWEST
    return Points(name, seen[known], expected[known], error[known])


def tilted(p: Array, rewards: Array, rule: Curation) -> Array:
    """p e^r, normalised: the law of many candidates."""
    weighted = p * np.exp(rule.beta * rewards)
    return np.asarray(weighted / weighted.sum())


def curation() -> None:
    """Words chosen by rewards: the law of k candidates, and p e^r."""
    few = [
        curation_points(f"one of {k} of each row, {keep}", curated, keep=keep, candidates=k)
        for keep in ("drawn", "highest", "lowest")
        for k in (2, 4, 10)
    ]
    few += [curation_points(f"of {k} times as many, drawn", curated, each=False, candidates=k) for k in (2, 4, 10)]
    few.append(curation_points("one of 4 of each row, erring about .3", curated, candidates=4, noise=0.3))
    few.append(curation_points("one of 4 of each row, beta 3", curated, candidates=4, beta=3.0))
    report("9. Curation by few candidates: the law of k", few)
    size = {"seeds": 100, "rows": 200, "iterations": 6, "types": 20}
    many = [
        curation_points(f"{name}, 1,000 candidates", tilted, candidates=1000, each=each, **size)
        for name, each in (("one of each row", True), ("of 1,000 times as many", False))
    ]
    report("10. Curation by many candidates: p e^r", many)


PARTS = {
    "tables": tables,
    "regimes": regimes,
    "grid": grid,
    "words": words,
    "logistic": patients,
    "curation": curation,
}


def main() -> None:
    """Print all parts, or one."""
    parser = argparse.ArgumentParser(description="The laws of regimes against simulation, and how long it takes.")
    parser.add_argument("--only", choices=PARTS)
    arguments = parser.parse_args()
    keep_freed_memory()
    for name, part in PARTS.items():
        if arguments.only in (None, name):
            part()


if __name__ == "__main__":
    main()
