"""`selfloop show-regime`: which rows of which artifact the models of a regime learn from, iteration by iteration."""

from collections.abc import Iterator
from pathlib import Path

from selfloop.config.messages import nearest, shown
from selfloop.data import regimes
from selfloop.data.regimes import REAL, Take
from selfloop.errors import UserError
from selfloop.numbers import table
from selfloop.planning import paths
from selfloop.planning.artifacts import Chain, Model
from selfloop.planning.rules import Plan

MOST_ITERATIONS = 5  # shown by default


def print_regime(plan: Plan, name: str, iterations: int | None = None) -> None:
    """Print a regime as the first of the study's chains that has it, or without artifacts if none has.

    Args:
        plan: the study.
        name: of a built-in regime, or one of the study's own.
        iterations: how many to show; None for the chain's, at most 5.

    Raises:
        UserError: there is no such regime, or it is shown for more iterations than the chain has.
    """
    known = plan.checked.regimes
    if name in plan.checked.grids:
        print(f"'{name}' is a grid of regimes: {', '.join(plan.checked.grids[name].points)}.")
        return
    if name not in known:
        raise UserError(f"unknown regime {shown(name)}{nearest(name, [*known, *plan.checked.grids])}")
    chain = next((chain for chain in plan.chains if chain.regime == name), None)
    if chain is None:
        rows = list(_plain(known[name], iterations or MOST_ITERATIONS))
        print(f"Regime '{name}'; no experiment of this study has it.\n")
    else:
        if iterations is not None and iterations > len(chain.models):
            raise UserError(f"--iterations: {iterations} is more than the {len(chain.models)} of '{name}' here.")
        rows = list(_of_chain(chain, iterations or min(len(chain.models), MOST_ITERATIONS)))
        where = f"experiment '{chain.experiment.name}', seed {chain.seed}"
        print(f"Regime '{name}', as {where} has it.\n")
    print(table(rows, right=[0, 2, 3, 4]))
    print("\nT is the number of real train rows.")


def _plain(regime: regimes.Regime, iterations: int) -> Iterator[list[str]]:
    yield ["iteration", "rows of", "amount", "rows", "weight", "which rows"]
    for iteration in range(1, iterations + 1):
        found = regimes.training_set(regime, iteration)
        yield from (_row(iteration, take, None) for take in found.takes)
        if found.budget is not None:
            yield _budget(iteration, found.budget, None)


def _of_chain(chain: Chain, iterations: int) -> Iterator[list[str]]:
    yield ["iteration", "rows of", "amount", "rows", "weight", "which rows", "artifact"]
    real = _rows(chain.models[0])
    for model in chain.models[:iterations]:
        if model.start is not None:
            start = 1 if chain.experiment.start == "first" else model.iteration - 1
            names = [f"{model.iteration}", f"weights of model {start}", "", "", "", "training starts from them"]
            yield [*names, paths.checkpoint(model.start)]
        yield from ([*_row(model.iteration, take, real), folder] for take, folder in model.takes)
        if model.budget is not None:
            yield [*_budget(model.iteration, model.budget, real), paths.training_set(model.name)]


def _rows(model: Model) -> int | None:
    """The real train rows, once they are prepared."""
    folder = Path(model.real("train"))
    if not folder.is_dir():
        return None
    from selfloop.data.shards import count_rows

    return count_rows(folder)


def _row(iteration: int, take: Take, real: int | None) -> list[str]:
    source = f"model {take.iteration}, part {take.part}" if take.iteration != REAL else "the train split"
    drawn = "drawn once for the chain" if take.same else "drawn for this iteration"
    which = "all" if take.amount >= 1 else drawn
    if take.fresh:
        source, which = "the reserve", f"{take.skip:g}T to {take.skip + take.amount:g}T of the chain's own order"
    if take.filter is not None:
        how = take.filter
        which = f"chosen at random, as many as by '{how.name}'" if how.random else f"chosen by '{how.name}'"
        which += f", one of {how.candidates} for each row" if how.each else f", of {how.candidates} times as many"
    count = f"{take.amount:g}T" if real is None else f"{take.rows(real):,}"
    return [f"{iteration}", source, f"{take.amount:g}", count, f"{take.weight:g}", which]


def _budget(iteration: int, budget: float, real: int | None) -> list[str]:
    count = f"{budget:g}T" if real is None else f"{round(budget * real):,}"
    return [f"{iteration}", "all of the above", f"{budget:g}", count, "", "at most, drawn for this iteration"]
