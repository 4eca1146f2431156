"""`selfloop status`: one line per chain with iterations done, what runs or has failed, and the time left.

It reads files only.
"""

import math
from collections.abc import Sequence

from selfloop.operations.progress import Progress, progress, speeds
from selfloop.planning.rules import Plan

HEAD = ("experiment", "regime", "sampling", "seed", "iterations", "time left", "now")


def duration(seconds: float | None) -> str:
    """A time in hours, minutes and seconds; "?" where it is not known."""
    if seconds is None:
        return "?"
    minutes, whole = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}"


def line(found: Progress) -> tuple[str, ...]:
    """A chain's line in the table."""
    chain = found.chain
    sampling = chain.experiment.domain.sampling_title(chain.sampling)
    left = duration(found.seconds_left) if found.done < found.iterations else "-"
    done = f"{found.done} of {found.iterations}"
    return (chain.experiment.name, chain.regime, sampling or "-", str(chain.seed), done, left, found.now)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def print_status(plan: Plan) -> None:
    """Print the table of a study."""
    known = speeds(plan.chains)
    print(table([HEAD, *(line(progress(chain, known)) for chain in plan.chains)]))
