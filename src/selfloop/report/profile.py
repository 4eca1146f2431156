"""The collapse profile of a study: from the tidy tables to the decisions, their table and their sentences."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from selfloop.analysis.read import groups, names_of, regimes_in_order
from selfloop.data.profile import Measure, Profile
from selfloop.data.tidy import SERIES
from selfloop.numbers import measured
from selfloop.report.content import Line, lines, share
from selfloop.report.phenomena import UNMEASURED, Change, Decision, Observed, Phenomenon, decide, limit_of
from selfloop.report.study import Basis
from selfloop.statistics import estimates
from selfloop.statistics.effect import table_of
from selfloop.statistics.estimates import UNKNOWN

PHRASES = {
    "blows up": "the test loss keeps rising",
    "modal collapse": "samples {narrower}{missing} (modal collapse)",
    "loses variety": "samples {narrower}",
    "towards uniformity": "samples {wider} (towards uniformity)",
    "spreads out": "samples {wider}",
    "nearer to real": "samples come nearer to real data",
    "amplified": "errors grow from model to model",
    "carried on": "errors are carried on from model to model",
    "averaged out": "part of each error averages out",
}


@dataclass(frozen=True)
class Profiled:
    """A model under a regime, with what is decided of it.

    Attributes:
        domain, experiment, series, regime: its names; the series is the model as briefly as possible.
        horizon: the iteration N.
        observed: what is known.
        decisions: of the four phenomena, in order.
    """

    domain: str
    experiment: str
    series: str
    regime: str
    horizon: int
    observed: Observed
    decisions: Sequence[Decision]


def profiled(metrics: pd.DataFrame, profile: pd.DataFrame, domains: Iterable[Basis]) -> list[Profiled]:
    """The decisions on all models and regimes of the domains that have a profile.

    Args:
        metrics, profile: the tidy tables.
        domains: of the study.
    """
    places: list[tuple[str, Line]] = []
    observed: list[Observed] = []
    for domain in domains:
        if domain.profile is None:
            continue
        own = profile[profile["domain"] == domain.name]
        for line in lines(metrics, domain.name, domain.headline, domain.adequate):
            places.append((domain.name, line))
            observed.append(_observed(own, line, domain.profile))
    return [
        Profiled(domain, line.experiment, line.series, line.regime, line.effect.horizon, known, decisions)
        for (domain, line), known, decisions in zip(places, observed, decide(observed), strict=True)
    ]


def _observed(profile: pd.DataFrame, line: Line, spec: Profile) -> Observed:
    own = profile[
        (profile["experiment"] == line.experiment)
        & (profile["model"] == line.model)
        & (profile["sampling"] == line.sampling)
        & (profile["regime"] == line.regime)
    ]

    def values(measure: Measure | None, column: str = "value") -> pd.DataFrame:
        if measure is None:
            return pd.DataFrame()
        rows = own[own["measure"] == measure.name].assign(value=lambda of: of[column])
        return table_of(rows).reindex(columns=range(1, line.effect.horizon + 1)) if len(rows) else pd.DataFrame()

    def change(measure: Measure, as_factor: bool = False) -> Change:
        table, real = values(measure), values(measure, "real")
        if table.empty or line.effect.horizon < 2:
            return UNMEASURED
        logs = table.transform(np.log) if as_factor and not measure.logarithmic else table
        by = estimates.mean((logs.iloc[:, -1] - logs.iloc[:, 0]).to_numpy(float))
        first, last, of_real = (float(each.mean()) for each in (table.iloc[:, 0], table.iloc[:, -1], real.iloc[:, 0]))
        return Change(by, first, last, of_real, limit_of(first, of_real, measure.floor, measure.ceiling))

    carried = UNKNOWN
    if spec.carried is not None:
        kappas, weights = values(spec.carried), values(replace(spec.carried, name=f"{spec.carried.name}_weight"))
        if not kappas.empty:
            weights = weights.where(kappas.notna())
            carried = estimates.mean(((kappas * weights).sum(axis=1) / weights.sum(axis=1)).to_numpy(float) - 1)
    return Observed(
        line.effect,
        change(spec.spread, as_factor=True),
        None if spec.recall is None else change(spec.recall),
        tuple(change(each) for each in spec.flat),
        None if spec.like is None else change(spec.like),
        carried,
        line.inadequate,
    )


def table(found: Sequence[Profiled]) -> pd.DataFrame:
    """The decisions as a tidy table, a row per model, regime and phenomenon."""
    rows = []
    for of in found:
        for decision in of.decisions:
            size, spread = decision.size, of.observed.spread
            of_spread = decision.phenomenon in ("modal collapse", "uniformity")
            ends = (spread.first, spread.last, spread.real) if of_spread else (np.nan, np.nan, np.nan)
            names = (of.domain, of.experiment, of.series, of.regime, of.horizon)
            numbers = (size.value, size.low, size.high, size.p, decision.p, size.seeds)
            rows.append((*names, decision.phenomenon, decision.word, *numbers, *ends, decision.reason))
    head = ["domain", "experiment", "model", "regime", "iteration", "phenomenon", "word"]
    return pd.DataFrame(
        rows, columns=[*head, "size", "low", "high", "p", "p_holm", "seeds", "first", "last", "real", "reason"]
    )


def unmeasured(profile: pd.DataFrame, domain: str, spec: Profile) -> list[str]:
    """What is not measured of later models, which have been deleted: a text per model.

    It is what is measured of the first ones, and κ.
    """
    own, said = profile[profile["domain"] == domain], []
    for (experiment, model, sampling), rows in groups(own, SERIES):
        first = set(rows.loc[rows["iteration"] == 1, "measure"])
        later = first if spec.carried is None else first | {spec.carried.name}
        lacks: dict[int, set[str]] = {}
        for _, chain in groups(rows, ["regime", "seed"]):
            for iteration in range(2, int(chain["iteration"].max()) + 1):
                found = set(chain.loc[chain["iteration"] == iteration, "measure"])
                lacks.setdefault(iteration, set()).update(later - found)
        names, at = sorted(set().union(*lacks.values())), [str(n) for n, of in sorted(lacks.items()) if of]
        if names:
            where = f"iteration{'s' if len(at) > 1 else ''} {_joined(at)}"
            said.append(f"{_joined(names)} ({names_of(own)[experiment, model, sampling][1]}, {where})")
    return said


def remarks(profile: pd.DataFrame, domain: str, spec: Profile) -> list[str]:
    """What a domain remarks on its measures, with the shares that are not 0, means over seeds."""
    own, said = profile[profile["domain"] == domain], []
    for remark in spec.remarks:
        rows = own[own["measure"] == remark.measure]
        values, names = dict[str, str](), names_of(own)
        for (*chain, regime, iteration), of in groups(rows, [*SERIES, "regime", "iteration"]):
            model = f" ({names[tuple(chain)][1]})" if len(names) > 1 else ""
            mean = float(of["value"].mean())
            if mean > 0:  # all regimes have the first iteration in common
                where = f"iteration {iteration}{'' if iteration == '1' else f' under {regime}'}{model}"
                values[where] = f"{measured(100 * mean, figures=2)}%"
        if values and not remark.values:
            said.append(remark.text)
        elif values:
            said.append(f"{remark.text}: {_joined([f'{value} in {where}' for where, value in values.items()])}")
    return said


def size_of(decision: Decision) -> str:
    """The size of what is decided, with its interval: an E, a change of the spread in percent, or κ."""
    of = decision.size
    if of.seeds == 0:
        return ""
    texts = [_size(decision.phenomenon, value) for value in (of.value, of.low, of.high)]
    return texts[0] if np.isnan(of.low) else f"{texts[0]} ({texts[1]} to {texts[2]})"


def _size(phenomenon: Phenomenon, value: float) -> str:
    if phenomenon == "carried errors":
        return measured(value, figures=3)
    return share(value if phenomenon == "blow-up" else float(np.expm1(value)))


def sentence(found: Sequence[Profiled], spec: Profile) -> str:
    """What a domain's samples do, in one sentence: by regime, what is said of all or some of its models."""
    clauses = []
    for regime in regimes_in_order(of.regime for of in found):
        own = [of for of in found if of.regime == regime]
        said: dict[str, int] = {}
        for of in own:
            for phrase in dict.fromkeys(_phrases(of, spec)):
                said[phrase] = said.get(phrase, 0) + 1
        whole = len(own)
        texts = [text if count == whole else f"{text} ({count} of {whole} models)" for text, count in said.items()]
        clauses.append(f"under {regime}, {_joined(texts) if texts else _nothing(own)}")
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _phrases(of: Profiled, spec: Profile) -> list[str]:
    missing = "" if spec.recall is None else " and reach less of the real data"
    words = {"narrower": spec.narrower, "wider": spec.wider, "missing": missing}
    return [PHRASES[each.word].format(**words) for each in of.decisions if each.word in PHRASES]


def _nothing(own: Sequence[Profiled]) -> str:
    words = {each.word for of in own for each in of.decisions}
    if words == {"no word"}:
        return "nothing can be said"
    return "these seeds cannot tell" if "no" not in words else "none of the four phenomena is sure to happen"


def _joined(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
