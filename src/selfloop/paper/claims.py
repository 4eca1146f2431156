"""The paper's figures and tables, a row each: what it claims, what this study has in its place, and whether it holds.

A claim is about signs and orders. It is checked in every series (a model, of one experiment and sampling) and every
seed that has what the claim is about, and holds where all of them agree.
"""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd

from selfloop.data.quantity import Quantity
from selfloop.paper.evidence import LEVEL, Checks, Claim, Study, changes_of, first_to_last, nothing, of_series
from selfloop.paper.table2 import ROWS
from selfloop.report.content import number, rows_of, simulated


def claims(study: Study) -> list[Claim]:
    """All rows, in the paper's order: Figs. 2-7 and 9-16, Tables 1 and 2."""
    return [
        _headline(study, "Fig. 2", "text", "Test cross-entropy rises when data are replaced, and not when they "
                  "accumulate, in every model.", _table_2_text()),
        _curves(study, "Fig. 3", ("epoch-linear",)),
        _molecule(study),
        _headline(study, "Fig. 5", "image", "Test loss rises swiftly when images are replaced; accumulated, it rises "
                  "much more slowly.", "A figure without numbers.", slower=True),
        _diversity(study),
        _linear(study, "Fig. 7", 10, "linear"),
        _curves(study, "Fig. 9", ("epoch-linear",)),
        _curves(study, "Fig. 10", ("epoch-log",)),
        _curves(study, "Fig. 11", ("step-linear",), steps=True),
        _curves(study, "Fig. 12", ("step-log",), steps=True),
        _temperature(study),
        _first_iteration(study),
        _reconstructions(study),
        _linear(study, "Fig. 16", 100, "log"),
        _samples(study),
        _table_2(study),
    ]  # fmt: skip


def _rises_and_does_not(rows: pd.DataFrame, slower: bool = False) -> Checks:
    """Replace rises; accumulate does not (or, `slower`, by less), up to the last iteration that both have."""
    both_have = rows[rows["regime"].isin(["replace", "accumulate"]) & np.isfinite(rows["value"].to_numpy(float))]
    chains = both_have.groupby(["series", "seed", "iteration"])["regime"].transform("nunique")
    rows = both_have[chains == 2]
    replaced, accumulated = changes_of(rows, "replace"), changes_of(rows, "accumulate")
    results, values = [], []
    both = [key for key in replaced if key in accumulated]
    for key in both:
        rise, other = (pair[1] - pair[0] for pair in (replaced[key], accumulated[key]))
        allowed = rise if slower else LEVEL * abs(accumulated[key][0])
        results.append(rise > 0 and other < min(rise, allowed))
    for series in dict.fromkeys(series for series, _ in both):
        pairs = [
            (name, of_series(found, series)) for name, found in (("replace", replaced), ("accumulate", accumulated))
        ]
        values.append(f"{series}: {', '.join(first_to_last(name, own) for name, own in pairs)}")
    return Checks(tuple(results), tuple(values))


def _headline(study: Study, place: str, domain: str, claim: str, paper: str, slower: bool = False) -> Claim:
    checks = _rises_and_does_not(study.rows(domain), slower)
    names = study.named(domain, "headline", "losses")
    setting = study.settings.get(domain, "")
    return Claim(place, claim, names, setting, paper, checks.ours(nothing(study, domain)), checks.holds)


def _molecule(study: Study) -> Claim:
    claim = "Test loss rises when conformers are replaced, nearly all of it at the first model that is trained on "
    claim += "synthetic ones, and stays about constant when they accumulate."
    row = _headline(study, "Fig. 4", "molecule", claim, "A figure without numbers.")
    at_once = [
        (second[1] - second[0]) / (last[1] - last[0])
        for second, last in _at_two_and_later(study.rows("molecule"))
        if last[1] > last[0]
    ]
    if not at_once:
        return row
    return replace(row, ours=f"{row.ours} Of the rise under replace, {np.mean(at_once):.0%} is there at iteration 2.")


def _at_two_and_later(rows: pd.DataFrame) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Of every chain under replace with a third iteration: the values at iterations 1 and 2, and at 1 and the last."""
    second = changes_of(rows, "replace", 2)
    later = changes_of(rows[rows["iteration"] != 2], "replace")
    return [(second[key], later[key]) for key in later if key in second]


def _final_losses(study: Study) -> pd.DataFrame:
    """The last point of every learning curve in the domain text, with the curve's last step as a column."""
    curves = study.curves[(study.curves["domain"] == "text") & (study.curves["split"] == "test")]
    if curves.empty or "text" not in study.headlines:
        return pd.DataFrame(columns=["series", "regime", "seed", "iteration", "value", "step", "epoch"])
    keys = ["experiment", "model", "sampling", "regime", "seed", "iteration"]
    last = curves.loc[curves.groupby(keys, sort=False)["step"].idxmax()]
    known = study.rows("text")[["experiment", "model", "sampling", "series"]].drop_duplicates()
    return last.merge(known, on=["experiment", "model", "sampling"], how="inner")


def _curves(study: Study, place: str, kinds: tuple[str, ...], steps: bool = False) -> Claim:
    claim = "Learning curves of later iterations end higher when data are replaced, and not when they accumulate" + (
        ", where later iterations take more gradient steps." if steps else "."
    )
    rows = _final_losses(study)
    checks = _rises_and_does_not(rows)
    if steps:
        taken = changes_of(rows.assign(value=rows["step"].astype(float)), "accumulate")
        values = [
            f"steps under accumulate {first:.0f} → {last:.0f}" for first, last in list(dict.fromkeys(taken.values()))
        ]
        results = [last > first for first, last in taken.values()]
        checks = Checks((*checks.results, *results), (*checks.values, *values))
    names = study.named("text", *(f"learning-curves-{kind}" for kind in kinds))
    setting = study.settings.get("text", "")
    paper = "A figure without numbers" + ("; an epoch of accumulated data is n times as many steps." if steps else ".")
    return Claim(place, claim, names, setting, paper, checks.ours(nothing(study, "text")), checks.holds)


def _diversity(study: Study) -> Claim:
    found = [
        q for q in study.synthetic.get("image", ()) if any(w in q.metric for w in ("variance", "diversity", "spread"))
    ]
    names = study.named("image", "sample", "grid", "synthetic")
    claim = "Sampled faces end as a single mode when images are replaced; accumulated, they stay diverse."
    none = nothing(study, "image") if not found else "The sampled images' diversity is not measured here."
    checks = _ends_in_order(study, "image", found[0], "replace", "accumulate") if found else Checks((), ())
    setting = study.settings.get("image", "")
    return Claim("Fig. 6", claim, names, setting, "Pictures, no numbers.", checks.ours(none), checks.holds)


def _reconstructions(study: Study) -> Claim:
    found = [
        metric
        for metric in study.metrics["metric"][study.metrics["domain"] == "image"].unique()
        if "reconstruction" in str(metric)
    ]
    claim = "Reconstructions of test images collapse when images are replaced, and stay accurate when they accumulate."
    none = "Reconstruction errors are not measured here." if "image" in study.headlines else nothing(study, "image")
    checks = Checks((), ())
    if found:
        rows = rows_of(study.metrics, "image", Quantity(str(found[0]), "test", "Reconstruction error"))
        checks = _rises_and_does_not(rows, slower=True)
    names = study.named("image", "reconstruction")
    setting = study.settings.get("image", "")
    return Claim("Fig. 15", claim, names, setting, "Pictures, no numbers.", checks.ours(none), checks.holds)


def _ends_in_order(study: Study, domain: str, quantity: Quantity, lower: str, higher: str) -> Checks:
    """At the last iteration that both have, a quantity is lower under one regime than under another."""
    rows = rows_of(study.metrics, domain, quantity)
    rows = rows[np.isfinite(rows["value"].to_numpy(float))]
    results, values = [], []
    for series, own in rows.groupby("series", sort=False):
        ends = {}
        for regime in (lower, higher):
            table = own[own["regime"] == regime].pivot_table(index="iteration", columns="seed", values="value")
            ends[regime] = table[table.index > 1]
        common = ends[lower].index.intersection(ends[higher].index)
        if len(common) == 0:
            continue
        low, high = (ends[regime].loc[common.max()] for regime in (lower, higher))
        results += [bool(low[seed] < high[seed]) for seed in low.index.intersection(high.index)]
        values.append(
            f"{series}, {quantity.label} at t={common.max()}: "
            f"{lower} {number(low.mean())}, {higher} {number(high.mean())}"
        )
    return Checks(tuple(results), tuple(values))


def _linear(study: Study, place: str, most: int, scale: str) -> Claim:
    """Ratios to iteration 1, over which the theory's prefactor cancels: n, the sum of 1/k², the sum of 1/k."""
    quantity = study.headlines.get("linear")
    rows = pd.DataFrame() if quantity is None else rows_of(study.metrics, "linear", simulated(quantity))
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
        for _, own in [] if rows.empty else rows[rows["regime"] == regime].groupby("series", sort=False):
            # Settings may have been simulated for different numbers of iterations.
            last = min(most, int(own["iteration"].max()))
            ends = own[own["iteration"].isin([1, last])].pivot(index="seed", columns="iteration", values="value")
            ends = ends[np.isfinite(ends.to_numpy(float)).all(axis=1)]
            if last < 2 or 1 not in ends or len(ends) < 2:
                continue
            ratio, error = ratio_of_means(ends[last].to_numpy(float), ends[1].to_numpy(float))
            results.append(bool(abs(ratio - law(last)) < 3 * error + 1e-9))
            ratios.append(ratio)
            lasts.add(last)
        if ratios:
            values.append(f"{regime} {number(min(ratios))} to {number(max(ratios))}")
    paper = ", ".join(f"{regime} {number(law(at))}" for regime, law in laws.items())
    ours = (
        f"Error at n={' or '.join(map(str, sorted(lasts)))} over that at n=1: {', '.join(values)} (lowest to highest "
        "setting). "
        f"Within 3 standard errors of theory in {sum(results)} of {len(results)} (settings and regimes)."
    )
    # With many settings, a share of them lies outside three standard errors by chance.
    share = sum(results) / len(results) if results else 0.0
    holds = "not here" if not results else "holds" if share >= 0.95 else "in part" if share > 0 else "does not hold"
    if not results:
        ours = nothing(study, "linear") if quantity is None else "No simulation in this study."
    setting = (
        ""
        if rows.empty
        else (f"simulated: {rows['series'].nunique()} settings, {rows['seed'].nunique()} seeds, {at} iterations")
    )
    return Claim(place, claim, study.named("linear", f"theory-{scale}"), setting, f"n={at}: {paper}.", ours, holds)


def ratio_of_means(over: np.ndarray, under: np.ndarray) -> tuple[float, float]:
    """The ratio of two means over the same seeds, and its standard error by the delta method.

    A seed's two values belong together: they share the rows and the first noise.
    """
    ratio = over.mean() / under.mean()
    error = (over - ratio * under).std(ddof=1) / math.sqrt(len(over)) / under.mean()
    return float(ratio), float(error)


def _temperature(study: Study) -> Claim:
    rows = study.rows("text")
    claim = "At a low sampling temperature the loss rises faster when data are replaced; accumulated, it does not rise."
    results, values = [], []
    for (cold, warm), rises in _of_temperatures(rows).items():
        results += [colder > warmer for colder, warmer in rises]
        experiment, sampling, _ = cold
        own = rows[(rows["experiment"] == experiment) & (rows["sampling"] == sampling)]
        results += [after - before <= LEVEL * abs(before) for before, after in changes_of(own, "accumulate").values()]
        means = [number(float(np.mean(side)), True) for side in zip(*rises, strict=True)]
        values.append(f"{cold[0]} under replace: {means[0]} at {cold[2]:g}, {means[1]} at {warm[2]:g}")
    checks = Checks(tuple(results), tuple(values))
    none = "Not run here: one sampling temperature." if not rows.empty else nothing(study, "text")
    paper = "GPT-2 (9M): 1.82 → 5.82 at temperature 0.3, 1.82 → 2.39 at 1.0 (Table 2)."
    names, setting = study.named("text", "headline"), study.settings.get("text", "")
    return Claim("Fig. 13", claim, names, setting, paper, checks.ours(none), checks.holds)


def _of_temperatures(
    rows: pd.DataFrame,
) -> dict[tuple[tuple[str, str, float], tuple[str, str, float]], list[tuple[float, float]]]:
    """The rises under replace at two temperatures, the lower one first, a pair for each seed.

    They are compared where nothing else differs: where both sample from the same first model, which shows in the same
    value at iteration 1; and up to the last iteration that both have. The keys are two times experiment, sampling,
    temperature.
    """
    rows = rows[(rows["regime"] == "replace") & np.isfinite(rows["value"].to_numpy(float))]
    chains = []
    for (experiment, sampling), own in rows.groupby(["experiment", "sampling"], sort=False):
        if found := re.search(r"temperature=([\d.]+)", str(sampling)):
            rest = str(sampling).replace(found[0], "")
            seeds: dict[int, dict[int, float]] = {}
            for seed, t, value in zip(own["seed"], own["iteration"], own["value"], strict=True):
                seeds.setdefault(int(seed), {})[int(t)] = float(value)
            chains.append(((str(experiment), str(sampling), float(found[1])), (own["model"].iloc[0], rest), seeds))
    pairs: dict[tuple[tuple[str, str, float], tuple[str, str, float]], list[tuple[float, float]]] = {}
    for (cold, kind, one), (warm, other_kind, other) in permutations(chains, 2):
        if kind != other_kind or cold[2] >= warm[2]:
            continue
        for seed in sorted(one.keys() & other.keys()):
            a, b = one[seed], other[seed]
            last = max(a.keys() & b.keys(), default=0)
            if last > 1 and 1 in a and a[1] == b.get(1):
                pairs.setdefault((cold, warm), []).append((a[last] - a[1], b[last] - b[1]))
    return pairs


def _first_iteration(study: Study) -> Claim:
    claim = "However long the first model is trained, replacing raises the loss of the later ones."
    last = _final_losses(study)
    results, values = [], []
    for series, own in last[last["regime"] == "replace"].groupby("series", sort=False):
        # By epochs: steps differ with the lengths of what was sampled, too, where rows are packed.
        epochs = own.groupby("iteration")["epoch"].mean()
        if {1, 2} <= set(epochs.index) and not 0.98 < epochs[1] / epochs[2] < 1.02:
            changes = changes_of(own.assign(series=series), "replace")
            results += [after > before for before, after in changes.values()]
            values.append(
                first_to_last(
                    f"{series}, {epochs[1] / epochs[2]:.2g} times the later epochs at first:", list(changes.values())
                )
            )
    checks = Checks(tuple(results), tuple(values))
    none = "Not run here: every first model is trained like the later ones."
    none = none if "text" in study.headlines else nothing(study, "text")
    names, setting = study.named("text", "headline"), study.settings.get("text", "")
    return Claim("Fig. 14", claim, names, setting, "A figure without numbers.", checks.ours(none), checks.holds)


def _samples(study: Study) -> Claim:
    quantity = Quantity("cross_entropy_under_first_model", "synthetic", "cross-entropy of the samples under model 1")
    checks = _ends_in_order(study, "text", quantity, "accumulate", "replace") if "text" in study.headlines else None
    checks = checks or Checks((), ())
    claim = "Samples get worse when data are replaced, and keep their quality when they accumulate. "
    claim += "(Measured here: samples of the last model that both have are less likely under model 1.)"
    names, setting = study.named("text", "samples"), study.settings.get("text", "")
    return Claim(
        "Table 1", claim, names, setting, "Samples, no numbers.", checks.ours(nothing(study, "text")), checks.holds
    )


def _table_2(study: Study) -> Claim:
    rows = study.rows("text")
    changes = {regime: changes_of(rows, regime, 4) for regime in ("accumulate", "replace", "replace-multiple")}
    late = changes_of(rows, "replace", 10)
    results, values = [], []
    for key, (before, after) in changes["replace"].items():
        results.append(after > before)
        if key in changes["accumulate"]:
            results.append(changes["accumulate"][key][1] <= before * (1 + LEVEL))
        if key in changes["replace-multiple"]:
            results.append(before < changes["replace-multiple"][key][1] < after)
        if key in late:
            results.append(late[key][1] > after)
    for series in dict.fromkeys(series for series, _ in changes["replace"]):
        parts = []
        for name, found in (*changes.items(), ("replace at t=10", late)):
            if own := of_series(found, series):
                parts.append(f"{name} {number(float(np.mean([b - a for a, b in own])), True)}")
        values.append(f"{series}, change to t=4: {', '.join(parts)}")
    checks = Checks(tuple(results), tuple(values))
    claim = "Signs of the changes to t=1: accumulate down, replace up and at t=10 further up, replace-multiple between."
    setting = study.settings.get("text", "")
    names = study.named("text", "paper", "headline")
    none = nothing(study, "text") if rows.empty else "No chain of this study reaches four iterations."
    return Claim("Table 2", claim, names, setting, _table_2_text(full=True), checks.ours(none, 8), checks.holds)


def _table_2_text(full: bool = False) -> str:
    shown = []
    for row in ROWS if full else [row for row in ROWS if row.fraction == 1 and row.temperature == 1]:
        names = {"t=4 (acc)": "accumulate", "t=4 (repl)": "replace"}
        names |= {"t=4 (*)": "replace-multiple", "t=10 (repl)": "t=10"} if full else {}
        parts = [f"{name} {row.values[heading]}" for heading, name in names.items() if heading in row.values]
        shown.append(f"{row.name}: {row.values['t=1']} → {', '.join(parts)}")
    return f"From t=1 to 4: {'; '.join(shown)}."
