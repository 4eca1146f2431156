"""How large a study is, counted before it is built: what would take minutes to plan is refused with its key.

Light and without loops over what it counts, but for iterations.
"""

import math
from collections.abc import Iterator, Mapping

from selfloop.config import models
from selfloop.data.regimes import Regime
from selfloop.errors import UserError

MOST_MODELS = 20_000  # about 100,000 jobs, which Snakemake plans in minutes
MOST_JOBS = 100_000
MOST_TAKES = 200_000  # data sets in all training sets together: links on the disk, and inputs for Snakemake


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
    amounts = [max(_amounts(source.amount)) for source in regime.sources]
    place = amounts.index(max(amounts))
    if amounts[place] > iterations:
        return f"regimes.{regime.name}.parts[{place}].amount: {amounts[place]:g}"
    if len(regime.sources) > iterations:
        return f"regimes.{regime.name}.parts: {len(regime.sources):,} lines"
    return f"{where}.iterations: {iterations:,}"


def _amounts(amount: float | str | tuple[float, ...]) -> Iterator[float]:
    if isinstance(amount, tuple):
        yield from amount
    elif isinstance(amount, str):
        yield 0.0
    else:
        yield amount


def sampled(regime: Regime, iterations: int) -> tuple[int, float]:
    """How many data sets the models of a chain sample, and how many its training sets are made of."""
    taken, needed = 1.0, [1.0] * iterations  # by model, from the first
    further = 0.0  # of every earlier model
    for iteration in range(iterations, 1, -1):
        previous = everywhere = 0.0
        for source in regime.sources:
            pieces = math.ceil(source.amount_at(iteration) - 1e-9)
            taken += pieces * (iteration - 1 if source.origin == "all" else 1)
            previous = max(previous, pieces if source.origin == "previous" else 0)
            everywhere = max(everywhere, pieces if source.origin == "all" else 0)
        if taken > MOST_TAKES:
            return 0, taken
        further = max(further, everywhere)
        needed[iteration - 2] = max(1.0, previous, further)
    return round(sum(needed)), taken
