"""How often the page's words are right: the rule on simulated chains, by truth, seeds, iterations and noise.

    python benchmarks/verdicts.py [--runs 2000]

Chains are in units of E, the share of what model 1 had learnt that is lost. A training has noise of its own, and hands
some on to the next iteration (a random walk). The noise of the default study is measured by

    python benchmarks/verdicts.py --measure results/metrics.parquet
"""

import argparse
from collections import Counter
from collections.abc import Callable

import numpy as np

from selfloop.analysis.effect import Effect, effect
from selfloop.numbers import table
from selfloop.report.verdicts import verdicts

# (standard deviation of one training, of what an iteration hands on), in units of E; see `measured_noise`.
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


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    for rows in (single_words(arguments.runs, generator), pages(arguments.runs // 4, generator)):
        print(table(rows, right=range(3, len(rows[0]))), end="\n\n")


if __name__ == "__main__":
    main()
