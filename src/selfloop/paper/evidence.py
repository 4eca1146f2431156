"""What the paper's claims are checked with: a study's tables, how a loss changes along its chains, and what follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from selfloop.data.quantity import Quantity
from selfloop.report.content import number, rows_of

LEVEL = 0.02  # a rise by less than this share of the first value counts as none ("equal or lower")


@dataclass(frozen=True)
class Claim:
    """One row of the section "Against the paper".

    Attributes:
        place: the figure or table.
        claim: what the paper says there, in our words.
        counterpart: names of our figures and tables that the page may show, in order.
        setting: what our counterpart was run with.
        paper: the paper's value, or that it gives none.
        ours: this study's value, or why there is none.
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

    results: tuple[bool, ...]
    values: tuple[str, ...]

    @property
    def holds(self) -> str:
        """The claim's standing."""
        if not self.results:
            return "not here"
        return "holds" if all(self.results) else "in part" if any(self.results) else "does not hold"

    def ours(self, none: str, most: int = 6) -> str:
        """The values, and in how many cases the claim is true."""
        if not self.results:
            return none
        shown = [*self.values[:most], *([f"and {len(self.values) - most} more"] if len(self.values) > most else [])]
        return f"{'; '.join(shown)}. True in {sum(self.results)} of {len(self.results)} (series and seeds)."


@dataclass(frozen=True)
class Study:
    """What the claims are checked against.

    Attributes:
        metrics, curves: the tidy tables.
        headlines: each domain's headline quantity; a domain that the study does not have is not there.
        settings: a line per domain that says with what it was run.
        synthetic: each domain's quantities of sampled data.
        names: the figures and tables that the page may show.
    """

    metrics: pd.DataFrame
    curves: pd.DataFrame
    headlines: Mapping[str, Quantity]
    settings: Mapping[str, str]
    synthetic: Mapping[str, Sequence[Quantity]]
    names: Sequence[str]

    def rows(self, domain: str) -> pd.DataFrame:
        """The headline quantity of a domain; empty where the study does not have it."""
        if domain not in self.headlines:
            return pd.DataFrame(columns=["experiment", "series", "sampling", "regime", "seed", "iteration", "value"])
        return rows_of(self.metrics, domain, self.headlines[domain])

    def named(self, domain: str, *words: str) -> tuple[str, ...]:
        """The domain's figures and tables whose name holds one of the words."""
        found = [name for word in words for name in self.names if name.startswith(f"{domain}-") and word in name]
        return tuple(dict.fromkeys(found))


def changes_of(
    rows: pd.DataFrame, regime: str, iteration: int | None = None
) -> dict[tuple[str, int], tuple[float, float]]:
    """By series and seed, the values at iteration 1 and at `iteration` (if None, the last), where both are finite."""
    found = {}
    for (series, seed), chain in rows[rows["regime"] == regime].groupby(["series", "seed"], sort=False):
        values = chain.set_index("iteration")["value"]
        values = values[np.isfinite(values.to_numpy(float))]
        last = int(values.index.max()) if iteration is None and len(values) else iteration
        if 1 in values.index and last in values.index and last != 1:
            found[str(series), int(str(seed))] = (float(values[1]), float(values[last]))
    return found


def first_to_last(name: str, pairs: Sequence[tuple[float, float]]) -> str:
    """A name with the means over pairs of a first and a last value."""
    first, last = (float(np.mean(side)) for side in zip(*pairs, strict=True))
    return f"{name} {number(first)} → {number(last)}"


def of_series(changes: Mapping[tuple[str, int], tuple[float, float]], series: str) -> list[tuple[float, float]]:
    """The pairs of one series, of what `changes_of` gives."""
    return [pair for (name, _), pair in changes.items() if name == series]


def nothing(study: Study, domain: str) -> str:
    """Why there is nothing that replace and accumulate could be compared by."""
    if domain not in study.headlines:
        return f"This study has no {domain} experiment."
    return "Nothing to compare: it takes replace and accumulate over two iterations at least."
