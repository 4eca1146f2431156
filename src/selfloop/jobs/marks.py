"""Marks of what is shown: empty files whose names say of which study.

Figures, tables and page have the same names in every study. Snakemake's records tell it which study they show, but a
copied folder has no records. So each rule that shows something has a mark among its outputs, whose name holds a digest
of what it shows: of another study, this file is missing, and Snakemake makes the rule's outputs again.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

MARK = "mark"  # its name among a rule's outputs
MARKS = "marks"  # the name of others' among its inputs, for Snakemake alone

Paths = Mapping[str, str | Sequence[str]]


def unmarked(paths: Paths) -> Paths:
    """Inputs or outputs of a job without marks, as its step knows them."""
    return {name: path for name, path in paths.items() if name not in (MARK, MARKS)}


@contextmanager
def marked(output: Paths) -> Iterator[None]:
    """A block that writes the outputs of a job: without a mark while it runs, with its own at the end."""
    mark = Path(str(output[MARK])) if MARK in output else None
    if mark is not None:
        remove(mark)
    yield
    if mark is not None:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def remove(mark: Path) -> None:
    """Remove a mark, and those of the same outputs of other studies."""
    shown = mark.name.rpartition("-")[0]
    for path in mark.parent.glob("*"):
        if re.fullmatch(re.escape(shown) + "-[0-9a-f]{16}", path.name):
            path.unlink(missing_ok=True)
