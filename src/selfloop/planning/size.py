"""How large a study is, counted before it is built: what would take minutes to plan is refused with its key.

Light and without loops over what it counts, but for iterations.
"""

import math
from collections.abc import Iterator, Mapping
from itertools import accumulate

from selfloop.config import models
from selfloop.data.regimes import Regime, Source
from selfloop.errors import UserError

MOST_MODELS = 20_000  # about 100,000 jobs, which Snakemake plans in minutes
MOST_JOBS = 100_000
# Data sets in all training sets together. Under accumulate n iterations have n²/2, of which Snakemake knows n (see
# `planning.sources`); each takes 2 µs of planning, and on the disk a link.
MOST_TAKES = 1_000_000


def check_size(experiments: Mapping[str, models.Experiment], regimes: Mapping[str, Regime]) -> None:
    """Refuse a study that is too large to be planned.

    Raises:
        UserError: it has too many models, jobs, or data sets in training sets; the message names the key that
            contributes most, and the number.
    """
    total = 0
    for name, experiment in experiments.items():
        where = f"experiments.{name}"
        chains = {"seeds": len(experiment.seeds), "sampling": len(experiment.sampling)}
        several = math.prod(chains.values())
        for regime in experiment.regimes:
            iterations = experiment.iterations_of(regime)
            counted = several * iterations
            if counted > MOST_MODELS:
                factors = {"iterations": iterations, **chains}
                key = max(factors, key=factors.__getitem__)
                words = " x ".join(f"{count:,} {what}" for what, count in factors.items())
                raise UserError(
                    f"{where}.{key}: {factors[key]:,} is too many: regime '{regime}' would have {counted:,} models "
                    f"({words}); at most {MOST_MODELS:,}."
                )
            parts, taken = sampled(regimes[regime], iterations)
            if several * taken > MOST_TAKES:
                raise UserError(
                    f"{_largest(regimes[regime], where, iterations)} is too much: under regime '{regime}', the "
                    f"training sets would be made of {several * taken:,.0f} data sets in all; at most {MOST_TAKES:,}."
                )
            total += several * (3 * iterations + 2 * parts)
            if total > MOST_JOBS:
                raise UserError(
                    f"{where}: with regime '{regime}', the study would have more than {total:,} jobs; "
                    f"at most {MOST_JOBS:,}. Take fewer seeds, iterations, regimes or samplings."
                )


def _largest(regime: Regime, where: str, iterations: int) -> str:
    """The key of what makes a regime's training sets large, and its value."""
    amounts = [source.largest for source in regime.sources]
    place = amounts.index(max(amounts))
    if amounts[place] > iterations:
        return f"regimes.{regime.name}.parts[{place}].amount: {amounts[place]:g}"
    if len(regime.sources) > iterations:
        return f"regimes.{regime.name}.parts: {len(regime.sources):,} lines"
    return f"{where}.iterations: {iterations:,}"


def sampled(regime: Regime, iterations: int) -> tuple[int, float]:
    """How many data sets the models of a chain sample, and how many its training sets are made of.

    Raises:
        UserError: a training set has no rows.
    """
    taken = 1.0
    for iteration in range(iterations, 1, -1):
        own = sum(source.pieces(iteration) for source in regime.sources)
        if own == 0:
            raise UserError(
                f"regimes.{regime.name}.parts: every amount is 0 at iteration {iteration}, whose model needs rows to "
                "be trained on; raise one of them."
            )
        taken += own
        if taken > MOST_TAKES:
            return 0, taken
    needed = [1.0] * iterations  # by model, from the first; part 0 is always sampled
    for source in regime.sources:
        if source.origin in ("previous", "all"):
            needed = [max(pair) for pair in zip(needed, _parts(source, iterations), strict=True)]
    return round(sum(needed)), taken


def _parts(source: Source, iterations: int) -> Iterator[int]:
    """How many parts a line takes of each model, from the first, over all iterations."""
    if source.by_age is not None:
        listed = list(accumulate(map(source.parts, source.by_age), max))
        for model in range(1, iterations + 1):
            oldest = min(iterations - model, source.last or iterations, len(listed))
            yield listed[oldest - 1] if oldest else 0
        return
    wanted = [source.parts(source.amount_at(iteration)) for iteration in range(2, iterations + 1)]  # of model 1 first
    last = 1 if source.origin == "previous" else source.last or iterations
    if last >= iterations:
        yield from reversed(list(accumulate(reversed(wanted), max)))
    else:
        yield from (max(wanted[model : model + last]) for model in range(len(wanted)))
    yield 0  # of the last model
