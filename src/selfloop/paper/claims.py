"""The paper's claims, a row each with the figures that it covers, and whether this study agrees.

Each part of a claim's sentence is a check of its own, in every series, on an effect that is paired by seed, with its
95% interval. Losses are compared as shares of what model 1 had learnt (`selfloop.statistics.effect`).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd

from selfloop.analysis.read import select
from selfloop.data.tidy import SERIES
from selfloop.numbers import measured
from selfloop.paper.evidence import (
    EMPTY,
    Check,
    Claim,
    Evidence,
    above,
    below,
    check,
    common,
    does_not_rise,
    rises,
)
from selfloop.paper.table2 import ROWS
from selfloop.statistics import estimates
from selfloop.statistics.estimates import Estimate

NO_NUMBERS = "Figures without numbers."
PICTURES = "Pictures, no numbers."
NEARLY_ALL = 0.8  # of a rise
MUCH_SLOWER = 0.5  # of another rise
SINGLE_MODE, DIVERSE = -0.5, -0.1  # changes of a diversity, as shares of its first value
AGREE = 0.95  # share of settings within three standard errors of theory; some are outside by chance


def claims(of: Evidence) -> list[Claim]:
    """All rows, in the paper's order."""
    return [
        of.claim("Figs. 2, 3, 9, 10", "text", "Test cross-entropy rises when data are replaced, and does not when they "
                 "accumulate, in every model.", _table_2_text(),
                 ["headline", *(f"learning-curves-epoch-{scale}" for scale in ("linear", "log"))],
                 _rises_and_does_not(of)),
        _molecule(of),
        of.claim("Fig. 5", "image", "Test loss rises swiftly when images are replaced; accumulated, it rises much more "
                 "slowly.", NO_NUMBERS, ["headline"], _rises_much_slower(of, "")),
        of.claim("Fig. 6", "image", "Sampled faces end as a single mode when images are replaced; accumulated, they "
                 "stay diverse.", PICTURES, ["samples", "synthetic"], _diversity(of)),
        _linear(of, "Fig. 7", 10, "linear"),
        of.claim("Figs. 11, 12", "text", "Accumulated, later iterations take more gradient steps.",
                 "An epoch of accumulated data is n times as many steps.",
                 [f"learning-curves-step-{scale}" for scale in ("linear", "log")], _steps(of)),
        _temperature(of),
        _first_iteration(of),
        of.claim("Fig. 15", "image", "Reconstructions of test images collapse when images are replaced, and stay "
                 "accurate when they accumulate.", PICTURES, ["reconstructions"],
                 _rises_much_slower(of, "reconstruction")),
        _linear(of, "Fig. 16", 100, "log"),
        of.claim("Table 1", "text", "Samples get worse when data are replaced, and keep their quality when they "
                 "accumulate.", "Samples, no numbers.", ["samples"], _quality(of),
                 "Measured here: the cross-entropy of samples under model 1."),
        of.claim("Table 2", "text", "Signs of the changes to t=1: accumulate down, replace up and at t=10 further up, "
                 "replace-multiple between.", _table_2_text(full=True), ["paper", "headline"], _table_2(of)),
    ]  # fmt: skip


def _rises_and_does_not(of: Evidence) -> Iterator[Check]:
    for series, regimes in of.lost("text").items():
        last = common(regimes, "replace", "accumulate")
        if last > 1:
            yield from check(f"replace rises to n={last}", series, regimes["replace"][last], rises)
            yield from check("accumulate does not", series, regimes["accumulate"][last], does_not_rise)


def _rises_much_slower(of: Evidence, role: str) -> Iterator[Check]:
    for series, regimes in of.lost("image", role).items():
        last = common(regimes, "replace", "accumulate")
        if last > 1:
            replaced, accumulated = regimes["replace"][last], regimes["accumulate"][last]
            yield from check(f"replace rises to n={last}", series, replaced, rises)
            slower = accumulated - MUCH_SLOWER * replaced
            yield from check("accumulate rises less than half as much (difference)", series, slower, below(0))


def _molecule(of: Evidence) -> Claim:
    def checks() -> Iterator[Check]:
        for series, regimes in of.lost("molecule").items():
            last = common(regimes, "replace", "accumulate")
            if last < 2:
                continue
            replaced = regimes["replace"]
            yield from check(f"replace rises to n={last}", series, replaced[last], rises)
            if last > 2:
                early = replaced[2] - NEARLY_ALL * replaced[last]
                yield from check("80% of it at n=2 (difference)", series, early, above(0))
            yield from check("accumulate does not rise", series, regimes["accumulate"][last], does_not_rise)

    claim = "Test loss rises when conformers are replaced, nearly all of it at the first model that is trained on "
    claim += "synthetic ones, and stays about constant when they accumulate."
    return of.claim("Fig. 4", "molecule", claim, NO_NUMBERS, ["headline", "losses"], checks())


def _diversity(of: Evidence) -> Iterator[Check]:
    for series, regimes in of.values("image", "diversity").items():
        last = common(regimes, "replace", "accumulate")
        if last > 1:
            change = {name: regimes[name][last] / regimes[name][1] - 1 for name in ("replace", "accumulate")}
            part = f"replace halves it by n={last}"
            yield from check(part, series, change["replace"], below(SINGLE_MODE), "share")
            yield from check("accumulate keeps 90% of it", series, change["accumulate"], above(DIVERSE), "share")


def _quality(of: Evidence) -> Iterator[Check]:
    for series, regimes in of.values("text", "quality").items():
        last = common(regimes, "replace", "accumulate")
        if last > 1:
            worse = {name: regimes[name][last] - regimes[name][1] for name in ("replace", "accumulate")}
            unit = "nats per token"
            yield from check(f"replace gets worse by n={last}", series, worse["replace"], above(0), unit)
            slower = worse["accumulate"] - MUCH_SLOWER * worse["replace"]
            yield from check("accumulate by less than half as much (difference)", series, slower, below(0), unit)


def _final(of: Evidence) -> pd.DataFrame:
    """The last point of every learning curve in the domain text: its step and epoch."""
    curves = of.curves[(of.curves["domain"] == "text") & (of.curves["split"] == "test")]
    known = select(of.metrics, "text", of.headlines["text"]) if "text" in of.headlines else EMPTY
    names = known[[*SERIES, "series"]].drop_duplicates()
    if curves.empty or names.empty:
        return EMPTY.assign(step=[], epoch=[])
    last = curves.loc[curves.groupby([*SERIES, "regime", "seed", "iteration"], sort=False)["step"].idxmax()]
    return last.merge(names, on=SERIES, how="inner")


def _steps(of: Evidence) -> Iterator[Check]:
    taken = _final(of)
    for series, own in taken[taken["regime"] == "accumulate"].groupby("series", sort=False):
        steps = own.pivot_table(index="seed", columns="iteration", values="step")
        last = int(steps.columns.max())
        if last > 1:
            growth = float((steps[last] / steps[1]).mean() - 1)
            exact = estimates.exact(growth, len(steps))
            word = above(0)(exact)
            yield Check(f"more steps at n={last} than at n=1", str(series), exact, word, "share")


def _temperature(of: Evidence) -> Claim:
    found = of.lost("text")
    settings = _of_temperatures(of)
    checks: list[Check] = []
    for (one, cold), (other, warm) in permutations(settings, 2):
        (kind, cold_at), (other_kind, warm_at) = settings[one, cold], settings[other, warm]
        if kind != other_kind or cold_at >= warm_at or not {one, other} <= found.keys():
            continue
        a, b = found[one], found[other]
        last = min(common(a, "replace"), common(b, "replace"))
        if last > 1:
            faster = a["replace"][last] - b["replace"][last]
            part = f"replace at {cold_at:g} rises more than at {warm_at:g}, to n={last} (difference)"
            checks += check(part, one, faster, above(0))
        if (until := common(a, "accumulate")) > 1:
            checks += check(f"accumulate at {cold_at:g} does not rise", one, a["accumulate"][until], does_not_rise)
    claim = "At a low sampling temperature the loss rises faster when data are replaced; accumulated, it does not rise."
    paper = "GPT-2 (9M): 1.82 → 5.82 at temperature 0.3, 1.82 → 2.39 at 1.0 (Table 2)."
    note = "" if checks or not found else "Not run here: one sampling temperature."
    return of.claim("Fig. 13", "text", claim, paper, ["headline"], checks, note)


def _of_temperatures(of: Evidence) -> dict[tuple[str, str], tuple[object, float]]:
    """By series and sampling: what else than the temperature shapes its chains, and the temperature.

    Chains are compared if they sample from the same first models, whose losses are equal, and nothing else differs.
    """
    if "text" not in of.headlines:
        return {}
    rows = select(of.metrics, "text", of.headlines["text"])
    found: dict[tuple[str, str], tuple[object, float]] = {}
    for (experiment, sampling), own in rows[rows["iteration"] == 1].groupby(["experiment", "sampling"], sort=False):
        settings = dict(of.samplings[str(experiment), str(sampling)])
        temperature = float(str(settings.pop("temperature")))
        first = own.drop_duplicates("seed")[["seed", "value"]].to_numpy().tolist()
        found[str(own["series"].iloc[0]), str(sampling)] = ((own["model"].iloc[0], settings, first), temperature)
    return found


def _first_iteration(of: Evidence) -> Claim:
    def checks() -> Iterator[Check]:
        lost, final = of.lost("text"), _final(of)
        for series, own in final[final["regime"] == "replace"].groupby("series", sort=False):
            # By epochs: with packing, steps also depend on the lengths of the samples.
            epochs = own.groupby("iteration")["epoch"].mean()
            if series in lost and {1, 2} <= set(epochs.index) and not 0.98 < epochs[1] / epochs[2] < 1.02:
                chain = lost[str(series)]
                last, longer = common(chain, "replace"), epochs[1] / epochs[2]
                part = f"replace rises to n={last}, after {longer:.2g} times the later epochs at first"
                yield from check(part, str(series), chain["replace"][last], rises)

    claim = "However long the first model is trained, replacing raises the loss of the later ones."
    found = list(checks())
    note = "" if found else "Not run here: every first model is trained like the later ones."
    return of.claim("Fig. 14", "text", claim, NO_NUMBERS, ["headline"], found, note)


def _table_2(of: Evidence) -> Iterator[Check]:
    for series, regimes in of.lost("text").items():
        if common(regimes, "replace") < 4:
            continue
        replaced = regimes["replace"]
        yield from check("replace up at n=4", series, replaced[4], above(0))
        if common(regimes, "replace") >= 10:
            yield from check("further up at n=10 (difference)", series, replaced[10] - replaced[4], above(0))
        if common(regimes, "accumulate") >= 4:
            yield from check("accumulate down at n=4", series, regimes["accumulate"][4], below(0))
        if common(regimes, "replace-multiple") >= 4:
            multiple = regimes["replace-multiple"][4]
            yield from check("replace-multiple up at n=4", series, multiple, above(0))
            yield from check("but less than replace (difference)", series, multiple - replaced[4], below(0))


def _linear(of: Evidence, place: str, most: int, scale: str) -> Claim:
    """Ratios to iteration 1, in which the theory's prefactor cancels: n, the sum of 1/k², the sum of 1/k."""
    quantity = of.headlines.get("linear")
    rows = EMPTY if quantity is None else select(of.metrics, "linear", quantity.simulated)
    predicted = EMPTY if quantity is None else select(of.metrics, "linear", quantity.simulated.exact)
    laws: dict[str, Callable[[int], float]] = {
        "replace": float,
        "accumulate": lambda n: sum(1 / k**2 for k in range(1, n + 1)),
    }
    if scale == "log":
        laws["replace-multiple"] = lambda n: sum(1 / k for k in range(1, n + 1))
    claim = "The test error grows like n when data are replaced, and stays below π²/6 times its first value when they "
    claim += "accumulate" + (", and like log n under replace-multiple." if scale == "log" else ".")
    at = most if rows.empty else min(most, int(rows["iteration"].max()))
    checks = []
    for regime, law in laws.items():
        ratios, agree = [], []
        for _, own in rows[rows["regime"] == regime].groupby("series", sort=False):
            # Settings may have been simulated for different numbers of iterations.
            last = min(most, int(own["iteration"].max()))
            ends = own[own["iteration"].isin([1, last])].pivot(index="seed", columns="iteration", values="value")
            ends = ends.dropna()
            if _has_another_law(predicted[predicted["regime"] == regime], own, law):
                continue  # of ridge, say: the paper's laws are those of least squares
            if last > 1 and 1 in ends and len(ends) > 1:
                ratio, error = ratio_of_means(ends[last].to_numpy(float), ends[1].to_numpy(float))
                ratios.append(ratio / law(last))
                agree.append(abs(ratio - law(last)) < 3 * error + 1e-9)
        if ratios:
            share = float(np.mean(agree))
            part = f"{regime} over its law, lowest to highest of {len(ratios)} settings"
            part += f"; {share:.0%} within 3 standard errors"
            of_all = Estimate(float(np.median(ratios)), min(ratios), max(ratios), math.nan, rows["seed"].nunique())
            checks.append(Check(part, "", of_all, "consistent" if share >= AGREE else "contradicted", "ratio"))
    paper = f"n={at}: {', '.join(f'{regime} {measured(law(at))}' for regime, law in laws.items())}."
    note = "" if checks else "No simulation of several seeds and iterations in this study."
    row = of.claim(place, "linear", claim, paper, [f"theory-{scale}"], checks, note)
    settings, seeds = rows["series"].nunique(), rows["seed"].nunique()
    setting = "" if rows.empty else f"simulated: {settings} settings, {seeds} seeds, {at} iterations"
    return replace(row, setting=setting)


def _has_another_law(predicted: pd.DataFrame, own: pd.DataFrame, law: Callable[[int], float]) -> bool:
    """Whether theory predicts other ratios to iteration 1 for a setting than a law; `own` are its simulated rows."""
    same = predicted.merge(own[SERIES].drop_duplicates(), on=SERIES)
    values = dict(zip(same["iteration"].astype(int), same["value"].astype(float), strict=True))
    return any(abs(value / values[1] - law(n)) > 1e-6 * law(n) for n, value in values.items())


def ratio_of_means(over: np.ndarray, under: np.ndarray) -> tuple[float, float]:
    """The ratio of two means over the same seeds, and its standard error by the delta method.

    A seed's two values are dependent: they share the rows and the first noise.
    """
    ratio = over.mean() / under.mean()
    error = (over - ratio * under).std(ddof=1) / math.sqrt(len(over)) / under.mean()
    return float(ratio), float(error)


def _table_2_text(full: bool = False) -> str:
    names = {"t=4 (acc)": "accumulate", "t=4 (repl)": "replace"}
    names |= {"t=4 (*)": "replace-multiple", "t=10 (repl)": "t=10"} if full else {}
    shown = []
    for row in ROWS:
        if full or (row.fraction == 1 and row.temperature == 1):
            parts = [f"{name} {row.values[heading]}" for heading, name in names.items() if heading in row.values]
            shown.append(f"{row.name}: {row.values['t=1']} → {', '.join(parts)}")
    return f"From t=1 to 4: {'; '.join(shown)}."
