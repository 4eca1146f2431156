"""What the paper's claims are checked against: a study's tables, and how a loss changes along its chains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from selfloop.analysis.read import select
from selfloop.data.quantity import Quantity
from selfloop.numbers import measured

LEVEL = 0.02  # a rise by less than this share of the first value counts as none ("equal or lower")
EMPTY = pd.DataFrame(columns=["experiment", "model", "sampling", "series", "regime", "seed", "iteration", "value"])
Pair = tuple[float, float]


@dataclass(frozen=True)
class Claim:
    """One row of the section "Against the paper".

    Attributes:
        place: the figure or table.
        claim: what the paper says there, paraphrased.
        counterpart: names of our figures and tables on the page.
        setting: the setting of our experiments.
        paper: the paper's values, if it gives any.
        ours: this study's values, or why there are none.
        holds: "holds", "does not hold", "in part" or "not here".
    """

    place: str
    claim: str
    counterpart: tuple[str, ...]
    setting: str
    paper: str
    ours: str
    holds: str


@dataclass(frozen=True)
class Checks:
    """How often a claim was true, and values to show for it."""

    results: Sequence[bool] = ()
    values: Sequence[str] = ()

    @property
    def holds(self) -> str:
        """See `Claim`."""
        if not self.results:
            return "not here"
        return "holds" if all(self.results) else "in part" if any(self.results) else "does not hold"

    def ours(self, none: str, most: int) -> str:
        """The values, and in how many cases the claim is true; `none` if there are none."""
        if not self.results:
            return none
        shown = [*self.values[:most], *([f"and {len(self.values) - most} more"] if len(self.values) > most else [])]
        return f"{'; '.join(shown)}. True in {sum(self.results)} of {len(self.results)} (series and seeds)."


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
    """

    metrics: pd.DataFrame
    curves: pd.DataFrame
    headlines: Mapping[str, Quantity]
    settings: Mapping[str, str]
    quantities: Mapping[str, Sequence[Quantity]]
    samplings: Mapping[tuple[str, str], Mapping[str, Any]]
    names: Sequence[str]

    def rows(self, domain: str) -> pd.DataFrame:
        """The headline quantity of a domain; empty if the study lacks the domain."""
        return select(self.metrics, domain, self.headlines[domain]) if domain in self.headlines else EMPTY

    def of_role(self, domain: str, role: str) -> tuple[pd.DataFrame, str]:
        """The values and the label of the domain's quantity with a role; empty if there is none."""
        found = [quantity for quantity in self.quantities.get(domain, ()) if quantity.role == role]
        return (select(self.metrics, domain, found[0]), found[0].label) if found else (EMPTY, "")

    def claim(
        self, place: str, domain: str, claim: str, paper: str, shown: Sequence[str], checks: Checks,
        none: str = "", most: int = 6,
    ) -> Claim:  # fmt: skip
        """A row about a domain.

        Args:
            place, claim, paper: as in `Claim`.
            domain: the domain.
            shown: our counterparts of the figure or table, without the domain's name.
            checks: the outcome.
            none: why nothing was checked, if not because replace and accumulate cannot be compared.
            most: the number of values to show.
        """
        if domain not in self.headlines:
            none = f"This study has no {domain} experiment."
        none = none or "Nothing to compare: this needs replace and accumulate over at least two iterations."
        names = tuple(name for each in shown if (name := f"{domain}-{each}") in self.names)
        return Claim(place, claim, names, self.settings.get(domain, ""), paper, checks.ours(none, most), checks.holds)


def changes_of(rows: pd.DataFrame, regime: str, iteration: int | None = None) -> dict[tuple[str, int], Pair]:
    """By series and seed, the values at iteration 1 and at `iteration` (if None, the last), where both are finite."""
    found = {}
    for (series, seed), chain in rows[rows["regime"] == regime].groupby(["series", "seed"], sort=False):
        values = chain.set_index("iteration")["value"].dropna()
        last = int(values.index.max()) if iteration is None and len(values) else iteration
        if last is not None and last != 1 and {1, last} <= set(values.index):
            found[str(series), int(str(seed))] = (float(values[1]), float(values[last]))
    return found


def of_series(changes: Mapping[tuple[str, int], Pair], series: str) -> list[Pair]:
    """The pairs of one series among the results of `changes_of`."""
    return [pair for (name, _), pair in changes.items() if name == series]


def first_to_last(name: str, pairs: Sequence[Pair]) -> str:
    """A name with the means over pairs of a first and a last value."""
    first, last = (float(np.mean(side)) for side in zip(*pairs, strict=True))
    return f"{name} {measured(first)} → {measured(last)}"


def rises_and_does_not(rows: pd.DataFrame, slower: bool = False) -> Checks:
    """Replace rises; accumulate does not (or, `slower`, by less), up to the last iteration that both have."""
    both_have = rows[rows["regime"].isin(["replace", "accumulate"]) & rows["value"].notna()]
    chains = both_have.groupby(["series", "seed", "iteration"])["regime"].transform("nunique")
    both_have = both_have[chains == 2]
    replaced, accumulated = changes_of(both_have, "replace"), changes_of(both_have, "accumulate")
    both = [key for key in replaced if key in accumulated]
    results = []
    for key in both:
        rise, other = (last - first for first, last in (replaced[key], accumulated[key]))
        allowed = rise if slower else LEVEL * abs(accumulated[key][0])
        results.append(rise > 0 and other < min(rise, allowed))
    values = [
        f"{series}: {first_to_last('replace', of_series(replaced, series))}, "
        f"{first_to_last('accumulate', of_series(accumulated, series))}"
        for series in dict.fromkeys(series for series, _ in both)
    ]
    return Checks(results, values)


def ends_in_order(rows: pd.DataFrame, label: str, lower: str, higher: str) -> Checks:
    """At the last iteration that both have, a quantity is lower under one regime than under another."""
    results, values = [], []
    for series, own in rows[rows["value"].notna() & (rows["iteration"] > 1)].groupby("series", sort=False):
        low, high = (
            own[own["regime"] == regime].pivot_table(index="iteration", columns="seed", values="value")
            for regime in (lower, higher)
        )
        common = low.index.intersection(high.index)
        if len(common):
            last = common.max()
            low, high = low.loc[last], high.loc[last]
            results += [bool(low[seed] < high[seed]) for seed in low.index.intersection(high.index)]
            means = f"{lower} {measured(low.mean())}, {higher} {measured(high.mean())}"
            values.append(f"{series}, {label} at t={last}: {means}")
    return Checks(results, values)
