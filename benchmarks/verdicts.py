"""How often the page's words are right: the rule on simulated chains, by truth, seeds, iterations and noise.

    python benchmarks/verdicts.py [--runs 2000]

Chains are in units of E, the share of what model 1 had learnt that is lost. A training has noise of its own, and hands
some on to the next iteration (a random walk). With --measure results/metrics.parquet, the noise of a study's chains is
measured first, printed by domain, model and regime, and its median simulated besides.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from selfloop.analysis.read import select
from selfloop.data.tidy import SERIES
from selfloop.domains.protocol import load_domain
from selfloop.numbers import table
from selfloop.report.verdicts import verdicts
from selfloop.statistics.effect import Effect, effect, lost, table_of

# (standard deviation of one training, of what an iteration hands on), in units of E.
NOISE = {"low": (0.01, 0.0), "mid": (0.01, 0.02)}
TRUTHS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "flat": lambda n: 0.0 * n,
    "+5% in all": lambda n: 0.05 * (n - 1) / (n[-1] - 1),
    "+0.02 per iteration": lambda n: 0.02 * (n - 1),
    "linear to 0.6": lambda n: 0.6 * (n - 1) / (n[-1] - 1),
    "log law to 0.6": lambda n: 0.6 * np.log(n) / np.log(n[-1]),
    "bounded law": lambda n: 0.6 * (np.cumsum(1 / n**2) - 1),
    "jump 0.6, then flat": lambda n: 0.6 * (n >= 2),
    "diverging": lambda n: 0.1 * 2.0 ** (n - 1) - 0.1,
}
WORDS = ["better", "no notable change", "worse, still rising", "worse, flat", "worse, late trend open", "useless"]
PAGE = 25  # words on a page


def simulated(truth: Callable[[np.ndarray], np.ndarray], seeds: int, iterations: int, noise: str,
              generator: np.random.Generator) -> Effect:  # fmt: skip
    """The effect of one study's chain: seeds with the same truth and independent noise."""
    fit, carried = NOISE[noise]
    walk = np.cumsum(generator.normal(0, carried, (seeds, iterations)), axis=1)
    walk -= walk[:, :1]  # model 1 is trained on real rows
    values = truth(np.arange(1.0, iterations + 1)) + walk + generator.normal(0, fit, (seeds, iterations))
    return effect(values, baseline=1.0)


def single_words(runs: int, generator: np.random.Generator) -> list[list[str]]:
    """Shares of words and of the law "bounded", a row per truth, iterations, noise and seeds."""
    rows = [["truth", "iterations", "noise", "seeds", *WORDS, "undecided", "law: bounded"]]
    for name, truth in TRUTHS.items():
        for iterations in (4, 10):
            for noise in NOISE:
                for seeds in (3, 5, 10):
                    effects = [simulated(truth, seeds, iterations, noise, generator) for _ in range(runs)]
                    words = Counter(verdicts([each])[0].word for each in effects)
                    laws = [each.law.name for each in effects if each.law is not None]
                    shares = [f"{words[word] / runs:.3f}" for word in (*WORDS, "undecided")]
                    bounded = f"{laws.count('bounded') / runs:.3f}" if laws else ""
                    rows.append([name, str(iterations), noise, str(seeds), *shares, bounded])
    return rows


def pages(runs: int, generator: np.random.Generator) -> list[list[str]]:
    """The share of pages of `PAGE` words on which nothing happens that show a false word."""
    rows = [["page of 25 flat chains", "noise", "seeds", "any worse", "any better", "mean no notable change"]]
    for iterations in (4, 10):
        for noise in NOISE:
            for seeds in (3, 5, 10):
                found = [
                    [each.word for each in verdicts(
                        [simulated(TRUTHS["flat"], seeds, iterations, noise, generator) for _ in range(PAGE)])]
                    for _ in range(runs)
                ]  # fmt: skip
                worse = sum(any(word.startswith(("worse", "useless")) for word in words) for words in found)
                better = sum("better" in words for words in found)
                same = sum(words.count("no notable change") for words in found) / PAGE
                shares = [f"{count / runs:.3f}" for count in (worse, better, same)]
                rows.append([f"{iterations} iterations", noise, str(seeds), *shares])
    return rows


def noise_of(shares: np.ndarray) -> tuple[float, float]:
    """Both standard deviations in E of (seeds, iterations), by the moments of the seeds' increments.

    An increment has the variance 2a² + b², and its covariance with the next one is -a².
    """
    steps = np.diff(shares - shares.mean(axis=0), axis=1)
    freedom = len(shares) - 1  # the mean over seeds is subtracted
    variance = float((steps**2).sum(axis=0).mean() / freedom)
    covariance = float((steps[:, 1:] * steps[:, :-1]).sum(axis=0).mean() / freedom)
    fit = min(max(-covariance, 0.0), variance / 2)
    return fit**0.5, max(variance - 2 * fit, 0.0) ** 0.5


def measured_noise(path: Path) -> list[list[str]]:
    """The noise of every domain, model and regime of a study with at least three seeds and iterations."""
    metrics = pd.read_parquet(path)
    rows = [["domain", "model", "regime", "seeds", "a training", "handed on"]]
    found = []
    for name in metrics["domain"].unique():
        headline = load_domain(name).headline
        chains = select(metrics, name, headline)
        baselines = select(metrics, name, headline.baseline).groupby([*SERIES, "regime"])["value"].mean()
        for key, own in chains.groupby([*SERIES, "regime"], sort=False):
            losses = table_of(own).to_numpy()
            if min(losses.shape) < 3 or np.isnan(losses).any():
                continue
            fit, carried = noise_of(lost(losses, float(baselines[key])))
            found.append((fit, carried))
            rows.append([name, str(own["series"].iloc[0]), key[-1], str(len(losses)), f"{fit:.3f}", f"{carried:.3f}"])
    if found:
        fit, carried = np.median(found, axis=0)
        NOISE[f"study ({fit:.3f}, {carried:.3f})"] = (float(fit), float(carried))
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--measure", type=Path)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(table(measured_noise(arguments.measure), right=range(3, 6)), end="\n\n")
    generator = np.random.default_rng(0)
    for rows in (single_words(arguments.runs, generator), pages(arguments.runs // 4, generator)):
        print(table(rows, right=range(3, len(rows[0]))), end="\n\n")


if __name__ == "__main__":
    main()
