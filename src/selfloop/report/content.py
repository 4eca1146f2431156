"""What the page of a study says, gathered from tidy tables: trends, answers, gaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from selfloop.analysis.read import in_order, regimes_in_order
from selfloop.data.quantity import Quantity
from selfloop.numbers import measured
from selfloop.report.verdicts import Trend, Verdict, trend, verdict

PHRASES = {
    "collapsed": "collapses",
    "rising": "rises",
    "bounded": "stays bounded",
    "undecided": "is undecided",
    "no verdict": "lacks a verdict",
}


@dataclass(frozen=True)
class Line:
    """One row of the page's table of verdicts: a model under a regime, over its seeds."""

    series: str
    regime: str
    trend: Trend
    verdict: Verdict


def lines(rows: pd.DataFrame, quantity: Quantity) -> list[Line]:
    """The trend and the verdict of every series under every regime, of rows as `read.select` gives them."""
    found = []
    for series in in_order(rows["series"]):
        chain = rows[rows["series"] == series]
        for regime in regimes_in_order(chain["regime"]):
            moved = trend(chain[chain["regime"] == regime], quantity.logarithmic)
            found.append(Line(series, regime, moved, verdict(moved)))
    return found


@dataclass(frozen=True)
class Clause:
    """What becomes of the loop under one regime: "replace", "it rises in both models (…)"."""

    regime: str
    text: str


def answer(found: Sequence[Line], quantity: Quantity) -> list[Clause]:
    """One sentence in clauses, a regime each: the verdicts, and the slopes that they rest on."""
    clauses = []
    for regime in regimes_in_order(line.regime for line in found):
        own = [line for line in found if line.regime == regime]
        words = [line.verdict.word for line in own]
        said = [(phrase, words.count(word)) for word, phrase in PHRASES.items() if word in words]
        if len(said) == 1:
            everywhere = {1: "", 2: " in both"}.get(len(own), f" in all {len(own)}")
            text = f"it {said[0][0]}{everywhere}"
        else:
            text = "it " + " and ".join(f"{phrase} in {count} of {len(own)}" for phrase, count in said)
        clauses.append(Clause(regime, f"{text} ({_slopes([line.trend for line in own], quantity)})"))
    return clauses


def _slopes(trends: Sequence[Trend], quantity: Quantity) -> str:
    """Slopes and intervals: in the unit of a logarithmic quantity, else in percent of the first model's value."""

    def scaled(value: float, of: Trend) -> float:
        return value if quantity.logarithmic else 100 * value / of.first if of.first > 0 else np.nan

    def show(value: float) -> str:
        return f"{measured(value, True, 2)}{'' if quantity.logarithmic else '%'}"

    slopes = [value for each in trends if not np.isnan(value := scaled(each.slope, each))]
    if not slopes:
        return "no slope yet"
    text = " to ".join(dict.fromkeys(map(show, (min(slopes), max(slopes)))))
    text += f" {quantity.unit} per iteration" if quantity.logarithmic else " of the first model's value per iteration"
    ends = [(scaled(each.low, each), scaled(each.high, each)) for each in trends]
    ends = [end for end in ends if not np.isnan(end[0])]
    if not ends:
        return f"{text}; one seed, so no interval"
    what = "95% interval" if len(ends) == 1 else "95% intervals within"
    return f"{text}; {what} {show(min(low for low, _ in ends))} to {show(max(high for _, high in ends))}"


@dataclass(frozen=True)
class Gap:
    """A chain of which something is missing or not finite."""

    chain: str
    what: str


def gaps(experiments: Mapping[str, Any], metrics: pd.DataFrame, quantities: Mapping[str, Quantity]) -> list[Gap]:
    """What the study asks for but the metrics lack, and values that are not finite.

    Args:
        experiments: checked experiments by name.
        metrics: the tidy table.
        quantities: each domain's headline quantity.
    """
    found = []
    for name, entry in experiments.items():
        quantity = quantities[entry["domain"]]
        rows = metrics[metrics["experiment"] == name]
        own = rows[(rows["metric"] == quantity.metric) & (rows["split"] == quantity.split)]
        counts = own.groupby(["regime", "seed", "iteration"]).size()
        iterations = entry["iterations"]
        for regime in entry["regimes"]:
            asked = range(1, (iterations if isinstance(iterations, int) else iterations[regime]) + 1)
            for seed in entry["seeds"]:
                missing = [str(t) for t in asked if counts.get((regime, seed, t), 0) < len(entry["sampling"])]
                if missing:
                    have = f"{len(asked) - len(missing)} of {len(asked)} iterations"
                    found.append(Gap(f"{name}, {regime}, seed {seed}", f"{have}; not yet {', '.join(missing)}"))
        wrong = rows[~np.isfinite(rows["value"].to_numpy(float))]
        for (regime, metric, split), own in wrong.groupby(["regime", "metric", "split"], sort=False):
            places = [f"seed {seed} iteration {t}" for seed, t in zip(own["seed"], own["iteration"], strict=True)]
            what = f"{metric} ({split}) is not finite and is left out: {', '.join(places)}"
            found.append(Gap(f"{name}, {regime}", what if len(what) < 300 else f"{what[:297]}…"))
    return found


def not_simulated(simulations: Sequence[Mapping[str, str]]) -> list[Gap]:
    """By experiment, how many settings have not been simulated; `simulations` as `collect` is given them."""
    found = []
    for name in dict.fromkeys(each["experiment"] for each in simulations):
        have = [Path(each["file"]).is_file() for each in simulations if each["experiment"] == name]
        if not all(have):
            found.append(Gap(f"{name}, simulated", f"{sum(have)} of {len(have)} settings"))
    return found


def cannot_say(found: Sequence[Line], quantity: Quantity) -> list[str]:
    """What the table of verdicts cannot say, in sentences."""
    trends = [line.trend for line in found]
    regimes = {line.regime for line in found}
    sentences = []
    if max(moved.seeds for moved in trends) < 2:
        sentences.append("One seed: no interval over seeds and so no verdict; a difference may be chance.")
    if max(moved.iterations for moved in trends) < 2:
        sentences.append("One iteration: no model has been trained on samples yet, so there is no slope.")
    if len(regimes) == 1:
        sentences.append(f"One regime ({next(iter(regimes))}): nothing to compare it with.")
    if any(2 <= moved.seeds < 5 for moved in trends):
        sentences.append(
            "Few seeds: intervals are wide, and hold only if slopes are about normal over seeds; with two seeds, "
            "the half-width is 12.7 standard errors."
        )
    if left_out := sum(moved.not_finite for moved in trends):
        sentences.append(f"{left_out} values of {quantity.label} are not finite and are left out of slopes and means.")
    return sentences
