"""The paper's figures and tables, a row each: its claim, this study's counterpart, and whether the claim holds.

Claims concern signs and orderings. One is checked for every series (a model in one experiment and sampling) and seed
that it applies to, and holds if all agree.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd

from selfloop.analysis.read import select
from selfloop.data.tidy import SERIES
from selfloop.numbers import measured
from selfloop.paper.evidence import (
    EMPTY,
    LEVEL,
    Checks,
    Claim,
    Evidence,
    Pair,
    changes_of,
    ends_in_order,
    first_to_last,
    of_series,
    rises_and_does_not,
)
from selfloop.paper.table2 import ROWS

NO_NUMBERS = "A figure without numbers."
PICTURES = "Pictures, no numbers."


def claims(of: Evidence) -> list[Claim]:
    """All rows, in the paper's order: Figs. 2-7 and 9-16, Tables 1 and 2."""
    return [
        of.claim("Fig. 2", "text", "Test cross-entropy rises when data are replaced, and not when they accumulate, in "
                 "every model.", _table_2_text(), ["headline"], rises_and_does_not(of.rows("text"))),
        _curves(of, "Fig. 3", "epoch-linear"),
        _molecule(of),
        of.claim("Fig. 5", "image", "Test loss rises swiftly when images are replaced; accumulated, it rises much more "
                 "slowly.", NO_NUMBERS, ["headline"], rises_and_does_not(of.rows("image"), slower=True)),
        of.claim("Fig. 6", "image", "Sampled faces end as a single mode when images are replaced; accumulated, they "
                 "stay diverse.", PICTURES, ["samples", "synthetic"],
                 ends_in_order(*of.of_role("image", "diversity"), "replace", "accumulate")),
        _linear(of, "Fig. 7", 10, "linear"),
        _curves(of, "Fig. 9", "epoch-linear"),
        _curves(of, "Fig. 10", "epoch-log"),
        _curves(of, "Fig. 11", "step-linear", steps=True),
        _curves(of, "Fig. 12", "step-log", steps=True),
        _temperature(of),
        _first_iteration(of),
        of.claim("Fig. 15", "image", "Reconstructions of test images collapse when images are replaced, and stay "
                 "accurate when they accumulate.", PICTURES, ["reconstructions"],
                 rises_and_does_not(of.of_role("image", "reconstruction")[0], slower=True)),
        _linear(of, "Fig. 16", 100, "log"),
        of.claim("Table 1", "text", "Samples get worse when data are replaced, and keep their quality when they "
                 "accumulate. (Measured here: samples of the last model that both have are less likely under model "
                 "1.)", "Samples, no numbers.", ["samples"],
                 ends_in_order(*of.of_role("text", "quality"), "accumulate", "replace")),
        _table_2(of),
    ]  # fmt: skip


def _molecule(of: Evidence) -> Claim:
    claim = "Test loss rises when conformers are replaced, nearly all of it at the first model that is trained on "
    claim += "synthetic ones, and stays about constant when they accumulate."
    rows = of.rows("molecule")
    row = of.claim("Fig. 4", "molecule", claim, NO_NUMBERS, ["headline", "losses"], rises_and_does_not(rows))
    # Chains under replace with at least three iterations.
    second, last = changes_of(rows, "replace", 2), changes_of(rows[rows["iteration"] != 2], "replace")
    rises = [(second[key], last[key]) for key in last if key in second and last[key][1] > last[key][0]]
    if not rises:
        return row
    at_once = np.mean([(early[1] - early[0]) / (late[1] - late[0]) for early, late in rises])
    return replace(row, ours=f"{row.ours} Of the rise under replace, {at_once:.0%} is there at iteration 2.")


def _final_losses(of: Evidence) -> pd.DataFrame:
    """The last point of every learning curve in the domain text, with the curve's last step and epoch as columns."""
    curves = of.curves[(of.curves["domain"] == "text") & (of.curves["split"] == "test")]
    known = of.rows("text")[[*SERIES, "series"]].drop_duplicates()
    if curves.empty or known.empty:
        return EMPTY.assign(step=[], epoch=[])
    last = curves.loc[curves.groupby([*SERIES, "regime", "seed", "iteration"], sort=False)["step"].idxmax()]
    last["value"] = last["value"].where(np.isfinite(last["value"]))
    return last.merge(known, on=SERIES, how="inner")


def _curves(of: Evidence, place: str, kind: str, steps: bool = False) -> Claim:
    claim = "Learning curves of later iterations end higher when data are replaced, and not when they accumulate"
    claim += ", where later iterations take more gradient steps." if steps else "."
    paper = "A figure without numbers; an epoch of accumulated data is n times as many steps." if steps else NO_NUMBERS
    rows = _final_losses(of)
    checks = rises_and_does_not(rows)
    if steps:
        taken = changes_of(rows.assign(value=rows["step"].astype(float)), "accumulate").values()
        values = [f"steps under accumulate {first:.0f} → {last:.0f}" for first, last in dict.fromkeys(taken)]
        checks = Checks([*checks.results, *(last > first for first, last in taken)], [*checks.values, *values])
    return of.claim(place, "text", claim, paper, [f"learning-curves-{kind}"], checks)


def _linear(of: Evidence, place: str, most: int, scale: str) -> Claim:
    """Ratios to iteration 1, in which the theory's prefactor cancels: n, the sum of 1/k², the sum of 1/k."""
    quantity = of.headlines.get("linear")
    rows = EMPTY if quantity is None else select(of.metrics, "linear", quantity.simulated)
    rows = rows[~rows["model"].str.contains("ridge=")]  # the laws are those of least squares
    laws: dict[str, Callable[[int], float]] = {
        "replace": float,
        "accumulate": lambda n: sum(1 / k**2 for k in range(1, n + 1)),
    }
    if scale == "log":
        laws["replace-multiple"] = lambda n: sum(1 / k for k in range(1, n + 1))
    claim = "The test error grows like n when data are replaced, and stays below π²/6 times its first value when they "
    claim += "accumulate" + (", and like log n under replace-multiple." if scale == "log" else ".")
    at = most if rows.empty else min(most, int(rows["iteration"].max()))
    results, values, lasts = [], [], set()
    for regime, law in laws.items():
        ratios = []
        for _, own in rows[rows["regime"] == regime].groupby("series", sort=False):
            # Settings may have been simulated for different numbers of iterations.
            last = min(most, int(own["iteration"].max()))
            ends = own[own["iteration"].isin([1, last])].pivot(index="seed", columns="iteration", values="value")
            ends = ends.dropna()
            if last > 1 and 1 in ends and len(ends) > 1:
                ratio, error = ratio_of_means(ends[last].to_numpy(float), ends[1].to_numpy(float))
                results.append(bool(abs(ratio - law(last)) < 3 * error + 1e-9))
                ratios.append(ratio)
                lasts.add(last)
        if ratios:
            values.append(f"{regime} {measured(min(ratios))} to {measured(max(ratios))}")
    paper = f"n={at}: {', '.join(f'{regime} {measured(law(at))}' for regime, law in laws.items())}."
    row = of.claim(place, "linear", claim, paper, [f"theory-{scale}"], Checks(), "No simulation in this study.")
    seeds, settings = rows["seed"].nunique(), rows["series"].nunique()
    setting = "" if rows.empty else f"simulated: {settings} settings, {seeds} seeds, {at} iterations"
    if not results:
        return replace(row, setting=setting)
    ours = (
        f"Error at n={' or '.join(map(str, sorted(lasts)))} over that at n=1: {', '.join(values)} (lowest to highest "
        f"setting). Within 3 standard errors of theory in {sum(results)} of {len(results)} (settings and regimes)."
    )
    # With many settings, some lie outside three standard errors by chance.
    share = sum(results) / len(results)
    holds = "holds" if share >= 0.95 else "in part" if share > 0 else "does not hold"
    return replace(row, setting=setting, ours=ours, holds=holds)


def ratio_of_means(over: np.ndarray, under: np.ndarray) -> Pair:
    """The ratio of two means over the same seeds, and its standard error by the delta method.

    A seed's two values are dependent: they share the rows and the first noise.
    """
    ratio = over.mean() / under.mean()
    error = (over - ratio * under).std(ddof=1) / math.sqrt(len(over)) / under.mean()
    return float(ratio), float(error)


def _temperature(of: Evidence) -> Claim:
    rows = of.rows("text")
    results, values = [], []
    for (experiment, sampling, cold, warm), rises in _of_temperatures(of, rows).items():
        own = rows[(rows["experiment"] == experiment) & (rows["sampling"] == sampling)]
        results += [colder > warmer for colder, warmer in rises]
        results += [after - before <= LEVEL * abs(before) for before, after in changes_of(own, "accumulate").values()]
        means = [measured(float(np.mean(side)), True) for side in zip(*rises, strict=True)]
        values.append(f"{experiment} under replace: {means[0]} at {cold:g}, {means[1]} at {warm:g}")
    claim = "At a low sampling temperature the loss rises faster when data are replaced; accumulated, it does not rise."
    paper = "GPT-2 (9M): 1.82 → 5.82 at temperature 0.3, 1.82 → 2.39 at 1.0 (Table 2)."
    none = "" if rows.empty else "Not run here: one sampling temperature."
    return of.claim("Fig. 13", "text", claim, paper, ["headline"], Checks(results, values), none)


def _of_temperatures(of: Evidence, rows: pd.DataFrame) -> dict[tuple[str, str, float, float], list[Pair]]:
    """The rises under replace at two temperatures, the lower one first, a pair for each seed.

    They are compared if nothing else differs: if both sample from the same first model, and so have the same value at
    iteration 1; and up to the last iteration that both have. The keys are experiment, sampling and temperature of the
    colder, and the temperature of the warmer.
    """
    chains = []
    own = rows[(rows["regime"] == "replace") & rows["value"].notna()]
    for (experiment, sampling), chain in own.groupby(["experiment", "sampling"], sort=False):
        settings = dict(of.samplings[str(experiment), str(sampling)])
        temperature = float(settings.pop("temperature"))
        seeds: dict[int, dict[int, float]] = {}
        for seed, iteration, value in chain[["seed", "iteration", "value"]].itertuples(index=False):
            seeds.setdefault(seed, {})[iteration] = value
        chains.append((str(experiment), str(sampling), temperature, (chain["model"].iloc[0], settings), seeds))
    pairs: dict[tuple[str, str, float, float], list[Pair]] = {}
    for (experiment, sampling, cold, kind, one), (_, _, warm, other_kind, other) in permutations(chains, 2):
        for seed in sorted(one.keys() & other.keys()) if kind == other_kind and cold < warm else ():
            a, b = one[seed], other[seed]
            last = max(a.keys() & b.keys(), default=0)
            if last > 1 and 1 in a and a[1] == b.get(1):
                pairs.setdefault((experiment, sampling, cold, warm), []).append((a[last] - a[1], b[last] - b[1]))
    return pairs


def _first_iteration(of: Evidence) -> Claim:
    last = _final_losses(of)
    results, values = [], []
    for series, own in last[last["regime"] == "replace"].groupby("series", sort=False):
        # By epochs: with packing, steps also depend on the lengths of the samples.
        epochs = own.groupby("iteration")["epoch"].mean()
        if {1, 2} <= set(epochs.index) and not 0.98 < epochs[1] / epochs[2] < 1.02:
            changes = changes_of(own, "replace").values()
            results += [after > before for before, after in changes]
            name = f"{series}, {epochs[1] / epochs[2]:.2g} times the later epochs at first:"
            values.append(first_to_last(name, list(changes)))
    claim = "However long the first model is trained, replacing raises the loss of the later ones."
    none = "Not run here: every first model is trained like the later ones."
    return of.claim("Fig. 14", "text", claim, NO_NUMBERS, ["headline"], Checks(results, values), none)


def _table_2(of: Evidence) -> Claim:
    rows = of.rows("text")
    changes = {regime: changes_of(rows, regime, 4) for regime in ("accumulate", "replace", "replace-multiple")}
    changes["replace at t=10"] = changes_of(rows, "replace", 10)
    accumulated, replaced, multiple, late = changes.values()
    results, values = [], []
    for key, (before, after) in replaced.items():
        results.append(after > before)
        if key in accumulated:
            results.append(accumulated[key][1] <= before * (1 + LEVEL))
        if key in multiple:
            results.append(before < multiple[key][1] < after)
        if key in late:
            results.append(late[key][1] > after)
    for series in dict.fromkeys(series for series, _ in replaced):
        parts = [
            f"{name} {measured(float(np.mean([b - a for a, b in own])), True)}"
            for name, found in changes.items()
            if (own := of_series(found, series))
        ]
        values.append(f"{series}, change to t=4: {', '.join(parts)}")
    claim = "Signs of the changes to t=1: accumulate down, replace up and at t=10 further up, replace-multiple between."
    none = "" if rows.empty else "No chain of this study reaches four iterations."
    checks = Checks(results, values)
    return of.claim("Table 2", "text", claim, _table_2_text(full=True), ["paper", "headline"], checks, none, 8)


def _table_2_text(full: bool = False) -> str:
    names = {"t=4 (acc)": "accumulate", "t=4 (repl)": "replace"}
    names |= {"t=4 (*)": "replace-multiple", "t=10 (repl)": "t=10"} if full else {}
    shown = []
    for row in ROWS:
        if full or (row.fraction == 1 and row.temperature == 1):
            parts = [f"{name} {row.values[heading]}" for heading, name in names.items() if heading in row.values]
            shown.append(f"{row.name}: {row.values['t=1']} → {', '.join(parts)}")
    return f"From t=1 to 4: {'; '.join(shown)}."
