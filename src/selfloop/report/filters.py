"""What filters do: each filtered regime against its random twin, paired by seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from selfloop.analysis.read import groups
from selfloop.data.tidy import SERIES
from selfloop.numbers import measured
from selfloop.report.content import TWIN, Judged, share
from selfloop.report.study import Domain
from selfloop.report.verdicts import FEWEST_SEEDS, LEVEL
from selfloop.statistics import estimates
from selfloop.statistics.effect import NOTABLE
from selfloop.statistics.estimates import UNKNOWN, Estimate, holm

Word = Literal["better", "no notable change", "worse", "undecided", "no word"]
FACTOR = 0.1  # a spread that falls by more has fallen notably, as in modal collapse
FILTER_RULE = (
    "Filters: of a filtered regime and its random twin, which keeps as many rows of as many candidates, E at N is "
    "compared, paired by seed. Better or worse: the difference is not 0, after Holm's correction for all filters of "
    "the study, and its interval does not lie within ±5%. No notable change: it lies within. Undecided: neither. No "
    "word: fewer than three seeds, or a first model that has not learnt enough. Narrower or wider: the spread of the "
    "samples is lower or higher than the twin's by more than 10%, and its interval does not hold 0."
)


@dataclass(frozen=True)
class Compared:
    """A measure of the samples under a filter, beside the same under its twin, at iteration N.

    Attributes:
        label: of the measure.
        own, twin: means over seeds.
        by: the difference, paired by seed; of a spread, of logarithms.
        spread: whether it is the measure of how varied samples are.
    """

    label: str
    own: float
    twin: float
    by: Estimate
    spread: bool

    @property
    def text(self) -> str:
        """The difference with its interval, of a spread in percent."""

        def said(value: float) -> str:
            return share(float(np.expm1(value))) if self.spread else measured(value, signed=True, figures=2)

        ends = "" if np.isnan(self.by.low) else f" ({said(self.by.low)} to {said(self.by.high)})"
        return f"{said(self.by.value)}{ends}"


@dataclass(frozen=True)
class Filtered:
    """A model under a filtered regime, against its random twin.

    Attributes:
        line, twin: both, with their own words.
        word: of the difference.
        p: after Holm's correction; NaN where there is no test.
        kept: the share of the candidates that is kept, mean over iterations; NaN where it is not known.
        passing: the share that is beyond the threshold; NaN without one.
        scores: mean scores of the candidates and of the kept ones; NaN where several filters choose.
        compared: what the filter does to the samples, the spread first.
    """

    line: Judged
    twin: Judged
    word: Word
    p: float
    kept: float
    passing: float
    scores: tuple[float, float]
    compared: Sequence[Compared]

    @property
    def difference(self) -> Estimate:
        """Of what is lost."""
        return self.line.contrasts[self.twin.regime]

    @property
    def sentence(self) -> str:
        """What the filter does, for readers."""
        if self.word == "no word":
            return f"Nothing can be said of {self.line.regime} against its twin ({self.line.series})."
        loss = {
            "better": "loses less than its twin",
            "worse": "loses more than its twin",
            "no notable change": "loses as much as its twin",
        }.get(self.word, "has no certain effect on the loss")
        spread = next((each.by for each in self.compared if each.spread), UNKNOWN)
        narrower, wider = spread.high < 0 and np.expm1(spread.value) < -FACTOR, spread.low > 0
        wider = wider and np.expm1(spread.value) > FACTOR
        samples = "has narrower samples" if narrower else "has wider samples" if wider else ""
        joined = ", but" if narrower and self.word == "better" else " and"
        return f"{self.line.regime} {loss}{f'{joined} {samples}' if samples else ''} ({self.line.series})."


def filtered(
    lines: Sequence[Judged], metrics: pd.DataFrame, profile: pd.DataFrame, domains: Sequence[Domain]
) -> list[Filtered]:
    """All filtered regimes that have a twin.

    Args:
        lines: of all models and regimes of the study.
        metrics, profile: the tidy tables.
        domains: of the study.
    """
    by_name = {_key(line): line for line in lines}
    names = ((line, (*_key(line)[:-1], f"{line.regime}{TWIN}")) for line in lines)
    pairs = [(line, by_name[name]) for line, name in names if name in by_name]
    reasons = [_no_word(line) for line, _ in pairs]
    differences = [line.contrasts[twin.regime] for line, twin in pairs]
    tested = [np.nan if no else of.p for no, of in zip(reasons, differences, strict=True)]
    found = []
    for (line, twin), no, of, p in zip(pairs, reasons, differences, holm(tested), strict=True):
        own = metrics[(metrics["split"] == "training") & _is_of(metrics, line)]
        mean = {name: float(rows["value"].mean()) for (name,), rows in groups(own, ["metric"])}
        scores = mean.get("candidate_score", np.nan), mean.get("kept_score", np.nan)
        shares = mean.get("share_kept", np.nan), mean.get("share_passing", np.nan)
        domain = next(each for each in domains if each.name == _domain_of(metrics, line))
        compared = tuple(_compared(line, twin, metrics, profile, domain))
        found.append(Filtered(line, twin, "no word" if no else _word(of, p), p, *shares, scores, compared))
    return found


def _key(line: Judged) -> tuple[str, str, str, str]:
    return line.experiment, line.model, line.sampling, line.regime


def _is_of(rows: pd.DataFrame, line: Judged) -> "pd.Series[bool]":
    return (rows[[*SERIES, "regime"]] == list(_key(line))).all(axis=1)


def _domain_of(metrics: pd.DataFrame, line: Judged) -> str:
    return str(metrics.loc[_is_of(metrics, line), "domain"].iloc[0])


def _no_word(line: Judged) -> bool:
    no_scale = bool(np.isnan(line.effect.total.value))
    return bool(line.inadequate) or no_scale or line.effect.horizon < 2 or line.effect.total.seeds < FEWEST_SEEDS


def _word(of: Estimate, p: float) -> Word:
    if of.within(NOTABLE):
        return "no notable change"
    if not p < LEVEL:
        return "undecided"
    return "better" if of.value < 0 else "worse"


def _compared(
    line: Judged, twin: Judged, metrics: pd.DataFrame, profile: pd.DataFrame, domain: Domain
) -> Iterator[Compared]:
    """The spread, and how much of the real data samples reach; of a domain without profile, its diversity."""

    def at_horizon(rows: pd.DataFrame, of: Judged) -> pd.Series:
        own = rows[_is_of(rows, of) & (rows["iteration"] == line.effect.horizon)]
        return own.set_index("seed")["value"] if len(own) else pd.Series(dtype=float)

    def compare(rows: pd.DataFrame, label: str, logarithmic: bool, spread: bool) -> Iterator[Compared]:
        own, others = (at_horizon(rows, of) for of in (line, twin))
        both = pd.concat([own, others], axis=1, join="inner").to_numpy(float)
        if len(both):
            scaled = np.log(np.where(both > 0, both, np.nan)) if spread and not logarithmic else both
            by = estimates.mean(scaled[:, 0] - scaled[:, 1])
            yield Compared(label, float(both[:, 0].mean()), float(both[:, 1].mean()), by, spread)

    if domain.profile is not None:
        for measure in (domain.profile.spread, domain.profile.recall):
            if measure is not None:
                rows = profile[profile["measure"] == measure.name]
                yield from compare(rows, measure.label, measure.logarithmic, measure is domain.profile.spread)
        return
    for quantity in domain.synthetic:
        if quantity.role == "diversity":
            rows = metrics[(metrics["metric"] == quantity.metric) & (metrics["split"] == quantity.split)]
            yield from compare(rows[rows["part"] == 0], quantity.label, quantity.logarithmic, True)
