"""The linear model at scale: how long the whole grid takes, how it compares to the direct loop, how well theory holds.

    python benchmarks/linear_grid.py [--table points.csv]

1. **Speed against the direct loop**, on every (d, T) of the grid, both in the same process, one BLAS thread for both:
   with two, any neighbour on the machine slows the direct loop many times over, which would flatter the ratio. The
   direct loop runs one seed (repeated where that is quick, and the best time counts); its seeds are independent, runs
   of the same length, so 100 seeds take 100 times as long, and so are its three values of sigma2. Nothing else is
   extrapolated: all iterations run.
2. **The grid**: d, T, sigma2, four regimes, 100 iterations, 100 seeds. Settings run in separate processes, one BLAS
   thread each; the time includes starting them.
3. **Measured over predicted**, for every (scenario, iteration) of the regimes with a formula: z = (mean -
   predicted)/SE, with two standard errors: the sample's, as one usually does, and the exact one, from the error's law
   (theory.py).
   - Tails: on this grid T-d-1 >= 6, so the variance is finite in every scenario, but with d=3, T=10 the fourth moment
     is not, and with d=1 the law is that of a squared normal over a chi-square. A sample of 100 then has few large
     values, its mean and its standard error fall short together, and |z| > 3 is more frequent than the normal 0.27%.
     So the comparison is made on more draws of the same simulation as well (up to 10,000 seeds: they are cheap).
   - Dependence: the 100 points of one scenario share X and noise, so they stand or fall together; scenarios are
     independent of each other (each (d, T, sigma2) has its own draws, nothing is rescaled), but regimes are not (they
     share a seed's X and unit noise, as the loop does). The independent tests are 57 per regime. "mean z2" is the mean
     of z squared over the last iterations of those 57, with the exact SE: if the theory holds, its expectation is 1
     whatever the tails.
"""

import argparse
import csv
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from selfloop.domains.linear import theory
from selfloop.domains.linear.simulation.scenario import Scenario
from selfloop.domains.linear.simulation.simulate import simulate
from selfloop.processor import processor
from selfloop.training.malloc import keep_freed_memory

sys.path.append(str(Path(__file__).parents[1] / "tests/reference"))
import linear_reference

DIMENSIONS = (1, 3, 10, 32, 100)
ROWS = (10, 32, 100, 316, 1000)
NOISE = (0.1, 1.0, 10.0)
ITERATIONS = 100
SEEDS = 100
PAIRS = [(d, T) for d, T in itertools.product(DIMENSIONS, ROWS) if d + 2 <= T]


def grid(regimes: Iterable[str]) -> list[Scenario]:
    """The follow-up paper's grid, expensive scenarios first, so that the last process to finish has little left."""
    scenarios = [Scenario(d, T, s, regime, ITERATIONS) for regime in regimes for d, T in PAIRS for s in NOISE]
    return sorted(scenarios, key=lambda s: -s.d * (s.T if s.regime == theory.SUBSAMPLE else 1))


class Moments(NamedTuple):
    """What is kept of a setting's errors: by iteration, over seeds."""

    mean: np.ndarray
    median: np.ndarray
    deviation: np.ndarray
    seeds: int


def moments(scenario: Scenario, seeds: int) -> Moments:
    """Simulate a scenario and summarise it."""
    error = simulate(scenario, range(seeds)).error
    return Moments(error.mean(axis=0), np.median(error, axis=0), error.std(axis=0, ddof=1), seeds)


def draws_for_theory(d: int) -> int:
    """Seeds for the comparison with theory: fewer where the dimension already averages."""
    return min(10_000, 100_000 // d)


@contextmanager
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool with one BLAS thread per worker: numpy reads the number when it is imported, so workers start afresh."""
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=keep_freed_memory) as pool:  # as the step does
        yield pool


def run_all(scenarios: list[Scenario], seeds: list[int], cores: int) -> tuple[list[Moments], float]:
    """Every scenario, and the wall-clock seconds it took, process start included."""
    begin = time.perf_counter()
    with processes(cores) as pool:
        results = list(pool.map(moments, scenarios, seeds))
    return results, time.perf_counter() - begin


def best_seconds(call: Callable[[], object], at_most: float = 2.0) -> float:
    """The shortest of up to twenty runs; of fewer when they take long."""
    times: list[float] = []
    while len(times) < 20 and sum(times) < at_most:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def compare_speed(scenario: Scenario) -> tuple[float, float]:
    """Seconds per seed: the direct loop, and the fast path at 100 seeds."""
    simulate(scenario, range(2))  # first calls load what is loaded lazily
    fast = best_seconds(lambda: simulate(scenario, range(SEEDS))) / SEEDS
    return best_seconds(lambda: linear_reference.simulate_directly(scenario, [0])), fast


def report_speed() -> None:
    """Print the ratio of the two paths: by regime, for all of a (d, T) together, and for the grid."""
    print(processor())
    print(f"\n1. Direct loop over fast path, {ITERATIONS} iterations, one process, one BLAS thread; ms per seed")
    print(f"{'':>10} {'all regimes together':^30} {'ratio by regime':^68}")
    print(f"{'d':>4} {'T':>5} {'direct':>12} {'fast':>8} {'ratio':>8}", *(f"{regime:>20}" for regime in theory.REGIMES))
    scenarios = [Scenario(d, T, 1.0, regime, ITERATIONS) for d, T in PAIRS for regime in theory.REGIMES]
    total = np.zeros(2)
    with processes(1) as pool:
        seconds = pool.map(compare_speed, scenarios)
        for d, T in PAIRS:
            times = np.array([next(seconds) for _ in theory.REGIMES])
            direct, fast = times.sum(axis=0)
            total += direct, fast
            ratios = (f"{ratio:>20,.0f}" for ratio in times[:, 0] / times[:, 1])
            cells = f"{d:>4} {T:>5} {direct * 1e3:>12,.1f} {fast * 1e3:>8.3f} {direct / fast:>8,.0f}"
            print(cells, *ratios, flush=True)
    direct, fast = total * len(NOISE) * SEEDS
    print(
        f"The whole grid on one core: {direct / 3600:.1f} hours directly, {fast:.1f} s fast: {direct / fast:,.0f} times"
    )


@dataclass(frozen=True)
class Comparison:
    """Measured against predicted for one scenario, each array (iterations,)."""

    scenario: Scenario
    seeds: int
    ratio: np.ndarray
    ratio_error: np.ndarray
    z_sample: np.ndarray
    z_exact: np.ndarray


def compare(scenario: Scenario, measured: Moments) -> Comparison:
    """Set a simulation beside the closed form."""
    arguments = (scenario.regime, scenario.d, scenario.T, scenario.sigma2, scenario.iterations)
    predicted = theory.expected_error(*arguments)
    exact = theory.error_deviation(*arguments) / measured.seeds**0.5
    sample = measured.deviation / measured.seeds**0.5
    away = measured.mean - predicted
    ratio, ratio_error = measured.mean / predicted, exact / predicted
    return Comparison(scenario, measured.seeds, ratio, ratio_error, z_sample=away / sample, z_exact=away / exact)


def report_theory(title: str, comparisons: list[Comparison]) -> None:
    """Print the share of points within 3 standard errors, and the worst, for each regime."""
    print(f"\n{title}")
    print(f"{'regime':<17} {'points':>6} {'within 3 SE':>12} {'(exact SE)':>11} {'mean z2':>8}  worst (exact SE)")
    for regime in theory.UPDATES:
        mine = [c for c in comparisons if c.scenario.regime == regime]
        sample, exact = (np.stack([getattr(c, name) for c in mine]) for name in ("z_sample", "z_exact"))
        k, n = np.unravel_index(np.abs(exact).argmax(), exact.shape)
        print(
            f"{regime:<17} {exact.size:>6} {np.mean(np.abs(sample) <= 3):>12.2%} {np.mean(np.abs(exact) <= 3):>11.2%}"
            f" {np.mean(exact[:, -1] ** 2):>8.2f}  z={exact[k, n]:+.2f} (sample SE {sample[k, n]:+.2f}) at"
            f" {mine[k].scenario.label}, n={n + 1}: ratio {mine[k].ratio[n]:.4f} ± {mine[k].ratio_error[n]:.4f}"
        )


def report_settings(comparisons: list[Comparison]) -> None:
    """Print measured over predicted for sigma2 = 1."""
    print("\n   Measured over predicted ± exact standard error, sigma2 = 1 (all points: --table)")
    print(f"{'regime':<17} {'d':>4} {'T':>5} {'draws':>6} {'n=1':>16} {'n=10':>16} {'n=100':>16} {'max |z|':>8}")
    for c in sorted(comparisons, key=lambda c: (c.scenario.regime, c.scenario.d, c.scenario.T)):
        if c.scenario.sigma2 == 1.0:
            cells = " ".join(f"{c.ratio[n]:>7.4f} ± {c.ratio_error[n]:.4f}" for n in (0, 9, 99))
            label = f"{c.scenario.regime:<17} {c.scenario.d:>4} {c.scenario.T:>5} {c.seeds:>6}"
            print(f"{label} {cells} {np.abs(c.z_exact).max():>8.2f}")


def report_subsample(measured: dict[Scenario, Moments]) -> None:
    """Print accumulate-subsample's mean over its large-T limit, and its median over accumulate's."""
    print(f"\n   accumulate-subsample, {SEEDS} seeds, sigma2 = 1: mean over the large-T limit (not exact at any T);")
    print("   last column: median at n=100 over that of accumulate")
    print(f"{'d':>4} {'T':>5} {'n=1':>7} {'n=10':>7} {'n=100':>7} {'median':>7}")
    mine = [s for s in measured if s.regime == theory.SUBSAMPLE and s.sigma2 == 1.0]
    for scenario in sorted(mine, key=lambda s: (s.d, s.T)):
        ratio = measured[scenario].mean / theory.subsample_limit(scenario.d, scenario.T, 1.0, ITERATIONS)
        accumulate = measured[replace(scenario, regime="accumulate")]
        cells = " ".join(f"{ratio[n]:>7.2f}" for n in (0, 9, 99))
        print(f"{scenario.d:>4} {scenario.T:>5} {cells} {measured[scenario].median[-1] / accumulate.median[-1]:>7.2f}")


def write_points(path: Path, comparisons: list[Comparison]) -> None:
    """All points as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["regime", "d", "T", "sigma2", "iteration", "seeds", "ratio", "se", "z_sample", "z_exact"])
        for c in comparisons:
            s = c.scenario
            for n in range(s.iterations):
                point = (c.ratio[n], c.ratio_error[n], c.z_sample[n], c.z_exact[n])
                writer.writerow([s.regime, s.d, s.T, s.sigma2, n + 1, c.seeds, *(f"{value:.6g}" for value in point)])


def main() -> None:
    """Result the three parts."""
    parser = argparse.ArgumentParser(description="Speed and accuracy of the linear simulation on the whole grid.")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--table", type=Path, help="write every point of the comparison with theory to this CSV file")
    parser.add_argument("--no-direct", action="store_true", help="leave out part 1, which takes five minutes")
    arguments = parser.parse_args()

    if not arguments.no_direct:
        report_speed()

    everything, predicted = grid(theory.REGIMES), grid(theory.UPDATES)
    results, seconds = run_all(everything, [SEEDS] * len(everything), arguments.cores)
    measured = dict(zip(everything, results, strict=True))
    size = f"{len(everything)} scenarios x {SEEDS} seeds x {ITERATIONS} iterations"
    print(f"\n2. The grid: {size} in {seconds:.1f} s on {arguments.cores} cores", flush=True)

    report_theory(f"3. Theory, {SEEDS} seeds (that very run)", [compare(s, measured[s]) for s in predicted])
    draws = [draws_for_theory(s.d) for s in predicted]
    results, seconds = run_all(predicted, draws, arguments.cores)
    comparisons = [compare(s, r) for s, r in zip(predicted, results, strict=True)]
    report_theory(f"   Theory, {min(draws):,} (d=100) to {max(draws):,} (d<=10) draws, {seconds:.1f} s", comparisons)
    report_settings(comparisons)
    report_subsample(measured)
    if arguments.table:
        write_points(arguments.table, comparisons)


if __name__ == "__main__":
    main()
