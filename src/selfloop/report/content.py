"""What the page of a study says, gathered from tidy tables: effects, words, gaps."""

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from selfloop.analysis.read import groups, in_order, regimes_in_order, select
from selfloop.data.quantity import SIMULATION, Limit, Quantity
from selfloop.data.regimes import BUILT_IN
from selfloop.data.tidy import SERIES
from selfloop.numbers import measured
from selfloop.report.study import Experiment
from selfloop.report.verdicts import Verdict, Word, verdicts
from selfloop.statistics import estimates
from selfloop.statistics.effect import Effect, effect, exact_effect, lost, table_of
from selfloop.statistics.estimates import Estimate
from selfloop.statistics.growth_law import FEWEST_ITERATIONS

Key = tuple[str, str, str, str]  # experiment, model, sampling, regime
# What a regime is contrasted with: real rows alone, and a pool of a fixed number of rows.
CONTROLS = (*(name for name, regime in BUILT_IN.items() if regime.control), "accumulate-subsample")
TWIN = "-random"  # the end of the name of a filtered regime's twin
PHRASES: Mapping[Word, str] = {
    "better": "get better",
    "no notable change": "show no notable change",
    "worse, still rising": "get worse and are still rising",
    "worse, flat": "get worse and then stay flat",
    "worse, late trend open": "get worse, with an open late trend",
    "useless": "become useless",
    "undecided": "are undecided",
    "no word": "have no word",
}
LATE = 0.25  # share of a training that is its end
STILL_LEARNING = 0.05  # of what a model has learnt, in that end
BEYOND = 1000.0


@dataclass(frozen=True)
class Line:
    """A model under a regime, over its seeds.

    Attributes:
        experiment, series, regime: its names; the series is the model as briefly as possible.
        effect: what the loop does to it.
        contrasts: by control of the same model, the difference of E_N, paired by seed.
        inadequate: why its model 1 has not learnt enough for a loop to lose; empty if it has.
        model, sampling: as the tidy tables name them.
    """

    experiment: str
    series: str
    regime: str
    effect: Effect
    contrasts: Mapping[str, Estimate]
    inadequate: str = ""
    model: str = ""
    sampling: str = ""


@dataclass(frozen=True)
class Judged(Line):
    """The same with its word."""

    verdict: Verdict = field(default=Verdict("no word"))


def lines(
    metrics: pd.DataFrame,
    domain: str,
    quantity: Quantity,
    adequate: Sequence[Limit] = (),
) -> list[Line]:
    """The effects of every regime on every series of a domain.

    Simulations are judged by theory where it is known, else by medians: their errors may have no mean.

    Args:
        metrics: the tidy table.
        domain: the domain's name.
        quantity: its headline quantity, measured or simulated.
        adequate: what its first models must reach.
    """
    rows = select(metrics, domain, quantity)
    baselines = _by_key(select(metrics, domain, quantity.baseline))
    exact = dict(_groups(select(metrics, domain, quantity.exact)))
    found = []
    for experiment, own in rows.groupby("experiment", sort=False):
        horizon = _horizon(own)
        shares: dict[Key, pd.Series] = {}
        series_of = {}
        effects: dict[Key, Effect] = {}
        for key, chain in _groups(own):
            table = table_of(chain).reindex(columns=range(1, horizon + 1))
            # Without a baseline, nothing is known of what model 1 had learnt.
            baseline = baselines.get(key, np.nan)
            if key in exact:
                losses = table_of(exact[key])[range(1, horizon + 1)].to_numpy()[0]
                effects[key] = exact_effect(losses, baseline, len(table))
            else:
                effects[key] = effect(table.to_numpy(), baseline, has_mean=quantity.split != SIMULATION)
            shares[key] = pd.Series(lost(table.to_numpy(), baseline)[:, -1], index=table.index)
            series_of[key] = str(chain["series"].iloc[0])
        weak = _inadequate(metrics, domain, str(experiment), adequate)
        for key, of in effects.items():
            contrasts = {
                control: estimates.mean((shares[key] - shares[twin]).dropna().to_numpy())
                for control in (*CONTROLS, f"{key[3]}{TWIN}")
                if key[3] != control and (twin := (*key[:3], control)) in shares
            }
            names = (key[0], series_of[key], key[3])
            found.append(Line(*names, of, contrasts, weak.get(key[:3], ""), model=key[1], sampling=key[2]))
    order = regimes_in_order(line.regime for line in found)
    return sorted(found, key=lambda line: (_place(line.series, rows), order.index(line.regime)))


def judged(found: Sequence[Line]) -> list[Judged]:
    """The lines with their words, which are corrected for their number."""
    words = verdicts([line.effect for line in found], [line.inadequate for line in found])
    return [Judged(**{**vars(line), "verdict": word}) for line, word in zip(found, words, strict=True)]


def _groups(rows: pd.DataFrame) -> Iterator[tuple[Key, pd.DataFrame]]:
    for (experiment, model, sampling, regime), own in groups(rows, [*SERIES, "regime"]):  # noqa: UP028 (of 4 names)
        yield (experiment, model, sampling, regime), own


def _by_key(rows: pd.DataFrame) -> dict[Key, float]:
    return {key: float(own["value"].mean()) for key, own in _groups(rows)}


def _horizon(rows: pd.DataFrame) -> int:
    """The last iteration that all regimes of an experiment reach, of those that have left iteration 1."""
    last = rows.groupby("regime")["iteration"].max()
    return int(last[last > 1].min()) if (last > 1).any() else 1


def _place(series: str, rows: pd.DataFrame) -> int:
    return in_order(rows["series"]).index(series)


def _inadequate(
    metrics: pd.DataFrame, domain: str, experiment: str, limits: Sequence[Limit]
) -> dict[tuple[str, ...], str]:
    """By model and sampling of an experiment, how its first models miss a limit."""
    found: dict[tuple[str, ...], str] = {}
    for limit in limits:
        rows = select(metrics, domain, limit.quantity)
        first = rows[(rows["experiment"] == experiment) & (rows["iteration"] == 1)]
        for key, own in groups(first, SERIES):
            value = float(own["value"].mean())
            if value > limit.most:
                label = limit.quantity.label
                text = f"{label}: {percent(value)} of model 1's, more than {percent(limit.most)}"
                found.setdefault(key, f"Model 1 has not learnt enough for a loop to lose ({text}).")
    return found


def percent(value: float) -> str:
    """A share, in percent of it."""
    return f"{measured(100 * value, figures=2)}%"


def share(value: float) -> str:
    """An E: signed percent; beyond a thousand times what model 1 had learnt, only that."""
    if abs(value) >= BEYOND:
        return "more than 1,000 times" if value > 0 else "less than \u22121,000 times"
    return "0.0%" if abs(value) < 0.0005 else f"{measured(100 * value, True, 2)}%"


def interval(of: Estimate) -> str:
    """A 95% interval of E; empty where there is none."""
    return "" if np.isnan(of.low) else f"{share(of.low)} to {share(of.high)}"


@dataclass(frozen=True)
class Row:
    """A row of the first table: a model, and its line under every regime that it has."""

    domain: str
    title: str
    series: str
    simulated: bool
    cells: Mapping[str, Judged]


def first_table(title: str, domain: str, found: Sequence[Judged], simulated: bool) -> list[Row]:
    """The rows of a domain, a series each."""
    series = dict.fromkeys(line.series for line in found)
    return [
        Row(domain, title, name, simulated, {line.regime: line for line in found if line.series == name})
        for name in series
    ]


def answer(rows: Sequence[Row]) -> str:
    """One sentence over the first table: by regime, how many models have which word."""
    clauses = []
    for regime in regimes_in_order(regime for row in rows for regime in row.cells):
        words = Counter(row.cells[regime].verdict.word for row in rows if regime in row.cells)
        if len(words) > 1:
            del words["no word"]
        said = ", ".join(f"{count} of {words.total()} {PHRASES[word]}" for word, count in words.most_common())
        clauses.append(f"under {regime}, {said}")
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


@dataclass(frozen=True)
class Gap:
    """A chain of which something is missing or not finite."""

    chain: str
    what: str


def gaps(experiments: Mapping[str, Experiment], metrics: pd.DataFrame, quantities: Mapping[str, Quantity]) -> list[Gap]:
    """What the study asks for but the metrics lack, and values that are not finite.

    Args:
        experiments: checked experiments by name.
        metrics: the tidy table.
        quantities: each domain's headline quantity.
    """
    found = []
    for name, entry in experiments.items():
        quantity = quantities[entry.domain]
        rows = metrics[metrics["experiment"] == name]
        own = rows[(rows["metric"] == quantity.metric) & (rows["split"] == quantity.split)]
        counts = own.groupby(["regime", "seed", "iteration"]).size()
        for regime in entry.regimes:
            asked = range(1, entry.iterations_of(regime) + 1)
            for seed in entry.seeds:
                missing = [str(t) for t in asked if counts.get((regime, seed, t), 0) < len(entry.sampling)]
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


def cannot_say(
    found: Sequence[Judged], curves: pd.DataFrame, quantity: Quantity, by_epochs: Container[str] = ()
) -> list[str]:
    """What the words of a domain cannot say and why, in sentences.

    Args:
        found: the lines of the domain.
        curves: the learning curves of its headline quantity, as `read.select` gives them; empty for simulations.
        quantity: the headline quantity.
        by_epochs: the experiments whose trainings are longer for larger training sets.
    """
    sentences = []
    for line in dict.fromkeys(line.verdict.reason for line in found if line.verdict.word == "no word"):
        series = dict.fromkeys(line_.series for line_ in found if line_.verdict.reason == line)
        sentences.append(f"No word for {', '.join(series)}: {line}")
    regimes = {line.regime for line in found}
    if len(regimes) == 1:
        sentences.append(f"One regime ({next(iter(regimes))}): nothing to compare it with.")
    grows = {"accumulate", "replace-multiple"} & {line.regime for line in found if line.experiment in by_epochs}
    if grows and not regimes & {"real-multiple", "accumulate-subsample"}:
        sentences.append(
            f"No control for compute: under {' and '.join(sorted(grows))}, later models take more optimizer steps than "
            "model 1. The regimes real-multiple and accumulate-subsample would tell."
        )
    horizons = {line.effect.horizon for line in found if line.effect.law is None}
    if short := [horizon for horizon in horizons if 3 <= horizon < FEWEST_ITERATIONS]:
        sentences.append(
            f"{min(short)} iterations are too few to tell linear from logarithmic from bounded growth "
            f"({FEWEST_ITERATIONS} would do)."
        )
    if broken := sum(line.effect.broken for line in found):
        sentences.append(f"Of {broken} chains {quantity.label} is not finite, or they end early; they are left out.")
    sentences += _still_learning(found, curves)
    return sentences


def _still_learning(found: Sequence[Judged], curves: pd.DataFrame) -> Iterator[str]:
    """Models 1 whose loss still fell at the end of their training: later models may gain by training longer."""
    learned = {line.series: line.effect.learned for line in found}
    first = curves[curves["iteration"] == 1].drop_duplicates(["series", "seed", "step"])
    for series, own in first.groupby("series", sort=False):
        falls = []
        for _, curve in own.sort_values("step").groupby("seed"):
            late = curve[curve["step"] <= (1 - LATE) * curve["step"].max()]
            if len(late):
                falls.append(late["value"].iloc[-1] - curve["value"].iloc[-1])
        of = learned.get(str(series), np.nan)
        if falls and of > 0 and (fell := float(np.mean(falls)) / of) > STILL_LEARNING:
            yield (
                f"Model 1 of {series} was still learning: the last quarter of its training brought {percent(fell)} of "
                "all that it has learnt. What later models gain by more steps hides what a loop costs; compare with "
                "real-multiple."
            )
