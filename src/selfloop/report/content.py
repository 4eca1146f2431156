"""What the page of a study says, gathered from tidy tables: trends, answers, gaps. No file is read here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from selfloop.analysis.read import in_order, regimes_in_order
from selfloop.data.quantity import Quantity
from selfloop.report.verdicts import Trend, Verdict, trend, verdict

SIMULATION = "simulation"  # the split under which a domain's simulations are listed
DASH, MINUS = "\u2013", "\u2212"
CHAIN = ["experiment", "model", "sampling"]
PHRASES = {
    "collapsed": "collapses",
    "rising": "rises",
    "bounded": "stays bounded",
    "undecided": "is undecided",
    "not said": "cannot be told",
}


@dataclass(frozen=True)
class Line:
    """One row of the page's table of verdicts: a model under a regime, over its seeds."""

    experiment: str
    series: str
    regime: str
    trend: Trend
    verdict: Verdict


def is_logarithmic(quantity: Quantity) -> bool:
    """Whether a quantity is a logarithm, so that a change of it is a factor: it is in nats."""
    return quantity.unit.split(" ")[0] == "nats"


def simulated(quantity: Quantity) -> Quantity:
    """The same quantity of the simulated chains."""
    return replace(quantity, split=SIMULATION, label=f"{quantity.label}, simulated")


def rows_of(metrics: pd.DataFrame, domain: str, quantity: Quantity) -> pd.DataFrame:
    """A quantity's rows in a domain, with a column `series` that names experiment, model and sampling as briefly as it
    can; None and infinite values stay. Parts of one model are averaged. Empty if nothing has been measured.
    """
    own = metrics[
        (metrics["domain"] == domain) & (metrics["metric"] == quantity.metric) & (metrics["split"] == quantity.split)
    ]
    keys = [*CHAIN, "regime", "seed", "iteration"]
    rows = own.groupby(keys, sort=False, dropna=False)["value"].mean().reset_index()
    names = _series(rows[CHAIN].drop_duplicates())
    return rows.assign(series=[names[key] for key in zip(*(rows[name].tolist() for name in CHAIN), strict=True)])


def _series(chains: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    several_samplings = chains["sampling"].nunique() > 1
    pairs = chains[["experiment", "model"]].drop_duplicates()
    shared = set(pairs["model"][pairs["model"].duplicated()])
    return {
        (experiment, model, sampling): ", ".join(
            [model, *([experiment] if model in shared else []), *([sampling] if several_samplings else [])]
        )
        for experiment, model, sampling in chains.itertuples(index=False)
    }


def lines(rows: pd.DataFrame, quantity: Quantity) -> list[Line]:
    """The trend and the verdict of every series under every regime."""
    found = []
    for series in in_order(rows["series"]):
        chain = rows[rows["series"] == series]
        for regime in regimes_in_order(chain["regime"]):
            own = chain[chain["regime"] == regime]
            moved = trend(own, is_logarithmic(quantity))
            found.append(Line(str(own["experiment"].iloc[0]), series, regime, moved, verdict(moved)))
    return found


@dataclass(frozen=True)
class Clause:
    """What becomes of the loop under one regime: "replace", "it rises in both models (…)"."""

    regime: str
    text: str


def answer(found: Sequence[Line], quantity: Quantity) -> list[Clause]:
    """One sentence in clauses, a regime each: the verdicts, and the slopes that they rest on."""
    clauses = []
    for regime in regimes_in_order([line.regime for line in found]):
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
    """Slopes and intervals: in the unit of a logarithmic quantity, else as shares of the first model's value."""
    relative = not is_logarithmic(quantity)
    known = [each for each in trends if not np.isnan(each.slope) and not (relative and np.isnan(each.relative(0.0)))]
    if not known:
        return "no slope yet"

    def show(value: float, of: Trend) -> str:
        return f"{number(100 * value / of.first, True, 2)}%" if relative else number(value, True, 2)

    def rank(value: float, of: Trend) -> float:
        return value / of.first if relative else value

    ends = [min(known, key=lambda t: rank(t.slope, t)), max(known, key=lambda t: rank(t.slope, t))]
    slopes = " to ".join(dict.fromkeys(show(each.slope, each) for each in ends))
    unit = " of the first model's per iteration" if relative else f" {quantity.unit} and iteration"
    sure = [each for each in known if not np.isnan(each.low)]
    if not sure:
        return f"{slopes}{unit}; one seed, so no interval"
    low, high = min(sure, key=lambda t: rank(t.low, t)), max(sure, key=lambda t: rank(t.high, t))
    what = "95% interval" if len(sure) == 1 else "95% intervals within"
    return f"{slopes}{unit}; {what} {show(low.low, low)} to {show(high.high, high)}"


def number(value: float, signed: bool = False, figures: int = 3) -> str:
    """A number with so many figures; NaN as an en dash."""
    if value is None or np.isnan(value):
        return DASH
    if np.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    sign = "+" if signed else ""
    text = f"{value:{sign}#.{figures}g}" if 1e-4 <= abs(value) < 10**figures or value == 0 else f"{value:{sign},.0f}"
    text = text if abs(value) >= 1e-4 or value == 0 else f"{value:{sign}.1e}"
    return text.rstrip(".").replace("-", MINUS)


@dataclass(frozen=True)
class Gap:
    """A chain that the study asks for and of which something is missing or not finite."""

    chain: str
    what: str


def gaps(experiments: Mapping[str, Any], metrics: pd.DataFrame, quantities: Mapping[str, Quantity]) -> list[Gap]:
    """What the study asks for and the metrics do not hold, and values that are not finite.

    Args:
        experiments: checked experiments by name.
        metrics: the tidy table.
        quantities: each domain's headline quantity.
    """
    found = []
    for name, entry in experiments.items():
        quantity = quantities[entry["domain"]]
        own = metrics[
            (metrics["experiment"] == name)
            & (metrics["metric"] == quantity.metric)
            & (metrics["split"] == quantity.split)
        ]
        samplings = len(entry["sampling"])
        counts = own.groupby(["regime", "seed", "iteration"]).size()
        iterations = entry["iterations"]
        for regime in entry["regimes"]:
            asked = iterations if isinstance(iterations, int) else iterations[regime]
            for seed in entry["seeds"]:
                there = [t for t in range(1, asked + 1) if counts.get((regime, seed, t), 0) >= samplings]
                if len(there) < asked:
                    missing = [str(t) for t in range(1, asked + 1) if t not in there]
                    chain = f"{name}, {regime}, seed {seed}"
                    found.append(Gap(chain, f"{len(there)} of {asked} iterations; not yet {', '.join(missing)}"))
        wrong = metrics[(metrics["experiment"] == name) & ~np.isfinite(metrics["value"].to_numpy(float))]
        for (regime, metric, split), own in wrong.groupby(["regime", "metric", "split"], sort=False):
            where = ", ".join(
                f"seed {seed} iteration {t}" for seed, t in zip(own["seed"], own["iteration"], strict=True)
            )
            what = f"{metric} ({split}) is not finite and left out: {where}"
            found.append(Gap(f"{name}, {regime}", what if len(what) < 300 else f"{what[:297]}…"))
    return found


def not_simulated(simulations: Sequence[Mapping[str, str]]) -> list[Gap]:
    """The settings of each experiment of which there is no simulation yet; `simulations` as `collect` is given them."""
    found = []
    for name in dict.fromkeys(each["experiment"] for each in simulations):
        asked = [each["file"] for each in simulations if each["experiment"] == name]
        there = sum(Path(file).is_file() for file in asked)
        if there < len(asked):
            found.append(Gap(f"{name}, simulated", f"{there} of {len(asked)} settings"))
    return found


def cannot_say(found: Sequence[Line], quantity: Quantity) -> list[str]:
    """What the table of verdicts cannot say, in sentences."""
    sentences = []
    if found and max(line.trend.seeds for line in found) < 2:
        sentences.append("One seed: no interval over seeds, and so no verdict; a difference may be chance.")
    if found and max(line.trend.iterations for line in found) < 2:
        sentences.append("One iteration: nothing has gone round the loop yet, so that there is no slope.")
    regimes = {line.regime for line in found}
    if len(regimes) == 1:
        sentences.append(f"One regime ({next(iter(regimes))}): nothing to compare it with.")
    few = [line.series for line in found if 2 <= line.trend.seeds < 5]
    if few:
        sentences.append(
            "With few seeds an interval is wide, and it holds only if the seeds' slopes are about normal: "
            "with two seeds, its half-width is 12.7 standard errors."
        )
    left_out = sum(line.trend.not_finite for line in found)
    if left_out:
        sentences.append(f"{left_out} values of {quantity.label} are not finite and left out of slopes and means.")
    return sentences
