"""What the paper's claims are checked against: how a study's chains move, seed by seed, and what a check may say."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from selfloop.analysis.read import by_seed, groups, select
from selfloop.data.quantity import Quantity
from selfloop.data.tidy import SERIES
from selfloop.statistics.effect import NOTABLE, lost, table_of
from selfloop.statistics.estimates import Estimate, mean

Word = Literal["consistent", "contradicted", "too noisy", "not tested"]
Judge = Callable[[Estimate], Word]
EMPTY = pd.DataFrame(columns=["experiment", "model", "sampling", "series", "regime", "seed", "iteration", "value"])
FEWEST_SEEDS = 2  # one has no interval


@dataclass(frozen=True)
class Check:
    """One part of a claim in one series (a model in one experiment and sampling).

    Attributes:
        part: what is checked, such as "replace rises".
        series: the series.
        estimate: the effect over seeds, paired.
        word: what it says of the part.
        unit: "E" for a share of what model 1 had learnt, "share" for another one, else a unit.
    """

    part: str
    series: str
    estimate: Estimate
    word: Word
    unit: str = "E"


@dataclass(frozen=True)
class Claim:
    """One row of the section "Against the paper".

    Attributes:
        place: the figures and tables that it covers.
        claim: what the paper says there, paraphrased.
        counterpart: names of our figures and tables on the page.
        setting: the setting of our experiments.
        paper: the paper's values, if it gives any.
        checks: its parts, by series.
        note: what else there is to say, or why nothing is checked.
    """

    place: str
    claim: str
    counterpart: tuple[str, ...]
    setting: str
    paper: str
    checks: tuple[Check, ...]
    note: str

    @property
    def word(self) -> Word:
        """Contradicted if any part is, in any series; consistent if all are."""
        words = {check.word for check in self.checks}
        if not words:
            return "not tested"
        return "contradicted" if "contradicted" in words else "consistent" if words == {"consistent"} else "too noisy"


def above(limit: float) -> Judge:
    """Consistent if the whole interval lies above a limit, contradicted if it lies below."""
    return lambda of: "consistent" if of.low > limit else "contradicted" if of.high < limit else "too noisy"


def below(limit: float) -> Judge:
    """Consistent if the whole interval lies below a limit, contradicted if it lies above."""
    return lambda of: "consistent" if of.high < limit else "contradicted" if of.low > limit else "too noisy"


def rises(of: Estimate) -> Word:
    """A rise is surely there, and notable; contradicted if it is surely not notable."""
    if of.low > 0 and of.value > NOTABLE:
        return "consistent"
    return "contradicted" if of.high < NOTABLE else "too noisy"


does_not_rise = below(NOTABLE)


@dataclass(frozen=True)
class Evidence:
    """What the claims are checked against.

    Attributes:
        metrics, curves: the tidy tables.
        headlines: by domain of the study, its headline quantity.
        settings: by domain, the setting of its experiments in one line.
        quantities: by domain, its other quantities.
        samplings: by experiment and title, the settings of a sampling.
        names: the figures and tables on the page.
        inadequate: by domain and series, why its model 1 has not learnt enough; nothing is checked of these.
    """

    metrics: pd.DataFrame
    curves: pd.DataFrame
    headlines: Mapping[str, Quantity]
    settings: Mapping[str, str]
    quantities: Mapping[str, Sequence[Quantity]]
    samplings: Mapping[tuple[str, str], Mapping[str, object]]
    names: Sequence[str]
    inadequate: Mapping[tuple[str, str], str]

    def lost(self, domain: str, role: str = "") -> "Chains":
        """E_n of the domain's headline quantity, or of the one with a role; empty if the study has none."""
        quantity = self._quantity(domain, role)
        if quantity is None:
            return {}
        rows = select(self.metrics, domain, quantity)
        baselines = select(self.metrics, domain, quantity.baseline).groupby([*SERIES, "regime"])["value"].mean()
        found: Chains = {}
        for key, own in groups(rows, [*SERIES, "regime"]):
            table = table_of(own)
            shares = lost(table.to_numpy(), float(baselines.get(key, np.nan)))
            series = str(own["series"].iloc[0])
            if (domain, series) not in self.inadequate:
                found.setdefault(series, {})[key[-1]] = pd.DataFrame(shares, table.index, table.columns)
        return found

    def values(self, domain: str, role: str) -> "Chains":
        """The values of the quantity with a role, themselves; the parts of one model are averaged."""
        quantity = self._quantity(domain, role)
        rows = EMPTY if quantity is None else select(self.metrics, domain, quantity)
        found: Chains = {}
        for (series, regime), own in groups(rows, ["series", "regime"]):
            if (domain, series) not in self.inadequate:
                found.setdefault(series, {})[regime] = table_of(by_seed(own).reset_index())
        return found

    def _quantity(self, domain: str, role: str) -> Quantity | None:
        if not role:
            return self.headlines.get(domain)
        return next((quantity for quantity in self.quantities.get(domain, ()) if quantity.role == role), None)

    def claim(
        self, place: str, domain: str, claim: str, paper: str, shown: Sequence[str], checks: Iterable[Check],
        note: str = "",
    ) -> Claim:  # fmt: skip
        """A row about a domain.

        Args:
            place, claim, paper: as in `Claim`.
            domain: the domain.
            shown: our counterparts of the figures and tables, without the domain's name.
            checks: the outcome.
            note: what else there is to say, or why nothing is checked, if not because regimes or iterations lack.
        """
        found = tuple(checks)
        if domain not in self.headlines:
            note = f"This study has no {domain} experiment."
        elif not found and not note:
            weak = [reason for (of, _), reason in self.inadequate.items() if of == domain]
            note = weak[0] if weak else "It needs these regimes over at least two iterations, and a measured baseline."
        names = tuple(name for each in shown if (name := f"{domain}-{each}") in self.names)
        return Claim(place, claim, names, self.settings.get(domain, ""), paper, found, note)


# By series and regime, a value for every seed (index) and iteration (columns).
Chains = dict[str, dict[str, pd.DataFrame]]


def common(regimes: Mapping[str, pd.DataFrame], *names: str) -> int:
    """The last iteration that all these regimes have; 1 if one of them is missing."""
    known = [regimes[name].dropna(axis=1, how="all").columns for name in names if name in regimes]
    return min(int(max(columns, default=1)) for columns in known) if len(known) == len(names) else 1


def check(part: str, series: str, values: pd.Series, judge: Judge, unit: str = "E") -> Iterator[Check]:
    """A part of a claim, from a value for each seed; nothing where no seed has one."""
    kept = values.dropna().to_numpy(float)
    if len(kept):
        of = mean(kept)
        yield Check(part, series, of, judge(of) if of.seeds >= FEWEST_SEEDS else "too noisy", unit)
