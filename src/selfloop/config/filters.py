"""Filters of sampled rows. Light, and apart from other sections: the step score imports it."""

import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from selfloop.config.section import Section

By = Literal[
    "cross-entropy", "length", "duplicates", "residual", "reward", "distance", "reconstruction", "nearest", "energy",
    "broken-bonds", "detector", "oracle", "command",
]  # fmt: skip
OF = ("first", "sampler", "referee")  # models of the study
BEYOND = ("above", "below")  # ways to keep rows that need a threshold
SCRIPTS = (".jl", ".js", ".lua", ".php", ".pl", ".py", ".r", ".rb", ".sh")  # suffixes of what an interpreter is given


class Filter(Section):
    """A score of sampled rows, and which rows are kept by it."""

    unsaid: ClassVar = frozenset({"radius", "threshold", "command", "version", "chunk"})

    by: By
    """The score. Text: `cross-entropy` (nats per token), `length` (tokens), `duplicates` (minus the number of earlier
    rows of the part that are the same). Images: `reconstruction` (minus the mean squared error), `nearest` (minus the
    distance from the nearest real train image). Molecules: `energy` (minus the MMFF94 energy above that of the real
    conformation, kcal/mol per atom), `broken-bonds` (minus their number). Linear, logistic: `residual` (minus the
    distance of a label from x·`center`, or from the probability of 1). Gaussian, kde: `distance` (minus that of a row
    from `center`). Discrete: `reward`. All domains: `detector` (log odds of real against synthetic, by a logistic
    regression that was not fitted to the row), `command`, and `oracle`, how likely a row is under a referee, a model of
    the same kind that is trained on the real train rows and the whole `data.reserve`.
    """
    of: Annotated[str, Field(min_length=1)] = "first"
    """With `cross-entropy` and `reconstruction`: under model 1 of the chain (`first`), under the model that sampled the
    row (`sampler`), under the `referee` that `oracle` has, or under a checkpoint that a study has written: its folder.
    One of text needs the same tokenizer.
    """
    center: list[float] | None = None
    """With `residual`: the parameters that the verifier believes in, of logistic with the intercept as the last one; of
    linear, null for w*. With `distance`: the point; null for 0.
    """
    radius: Annotated[float, Field(ge=0)] = 0.0
    """With `residual` and `distance`: how far off the verifier takes for right. The distance is that from a ball of
    this radius around `center`; of `residual`, which linear alone has it with, the ball holds parameters.
    """
    rewards: dict[str, float] | None = None
    """With `reward`: rewards of words; others have 0."""
    command: Annotated[list[str], Field(min_length=1)] | None = None
    """With `command`: the program and its arguments, such as `[python, verify.py]`, run without a shell in the folder
    of the study. It reads rows from its standard input, a JSON object on each line, and prints a number per row. One
    that is not there is found out before anything is computed.
    """
    version: str | None = None
    """With `command`: the program's version. Scores of another one are computed again, as they are when a file changes
    that `command` names.
    """
    chunk: Annotated[int, Field(ge=1)] = 1_000
    """With `command`: rows per run of the program."""
    keep: Literal["highest", "lowest", "above", "below", "drawn"] = "highest"
    """Rows with the highest or the lowest scores; rows drawn of those with scores `above` or `below` the `threshold`,
    or at it; or rows `drawn` with probabilities proportional to exp(`beta` · score).
    """
    threshold: float | None = None
    """With `keep: above` or `below`: the score."""
    each: bool = False
    """Choose among the candidates of each row (the rows of one number in as many parts: of one prompt or input) instead
    of among all candidates together.
    """
    candidates: Annotated[int, Field(ge=2, le=1000)] = 2
    """Sampled rows per row that is kept."""
    beta: Annotated[float, Field(gt=0)] = 1.0
    """How much scores count where rows are `drawn`."""
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that the verifier errs about a row, which then has the score of another one."""

    @cached_property
    def scorer(self) -> "Filter":
        """What its scores depend on, with defaults for the rest."""
        return self.changed(**{key: type(self).model_fields[key].default for key in CHOOSING})

    @property
    def scored_under(self) -> str | None:
        """The model that rows are scored under: `first`, `sampler`, `referee` or `checkpoint`; None for none."""
        if self.by == "oracle":
            return "referee"
        if self.by not in ("cross-entropy", "reconstruction"):
            return None
        return self.of if self.of in OF else "checkpoint"

    @property
    def compares(self) -> bool:
        """Whether rows are compared with the real train rows."""
        return self.by in ("detector", "nearest", "energy", "broken-bonds")

    @property
    def files(self) -> list[str]:
        """The files that its command or `of` names: their contents are part of it."""
        if self.scored_under == "checkpoint":
            return sorted(str(path) for path in Path(self.of).iterdir() if path.is_file() and path.name[0] != ".")
        words = self.command or []
        return [word for place, word in enumerate(words) if (place or "/" in word) and Path(word).is_file()]


CHOOSING = ("keep", "threshold", "each", "candidates", "beta", "noise")  # keys that scores do not depend on
ONLY_WITH = {  # keys that only some scores have
    "of": ("cross-entropy", "reconstruction"),
    "center": ("residual", "distance"),
    "radius": ("residual", "distance"),
    "rewards": ("reward",),
    "command": ("command",),
    "version": ("command",),
    "chunk": ("command",),
}


def problems(of: Filter) -> Iterator[str]:
    """What is wrong with a filter that its fields cannot say; a sentence each, beginning with the key."""
    for key, scores in ONLY_WITH.items():
        if key in of.model_fields_set and of.by not in scores:
            yield f"{key}: it is only allowed with by: {' or '.join(scores)}, not {of.by}."
    if of.by == "command" and of.command is None:
        yield "command: it is needed with by: command, such as [python, verify.py]."
    if of.command is not None:
        yield from _program_problems(of.command)
    if of.scored_under == "checkpoint" and not Path(of.of, "config.json").is_file():
        yield f"of: '{of.of}' is not a folder of a checkpoint. Allowed: {', '.join(OF)}, or such a folder."
    elif of.by == "cross-entropy" and of.scored_under == "checkpoint" and not Path(of.of, "tokenizer.json").is_file():
        yield f"of: '{of.of}' has no tokenizer.json, so it is not known whether its tokens are those of the rows."
    beyond = of.keep in BEYOND
    if beyond and of.threshold is None:
        yield f"threshold: it is needed with keep: {of.keep}; give the score."
    if of.threshold is not None and not beyond:
        yield f"threshold: {of.threshold:g} is only allowed with keep: above or below, not {of.keep}."
    if of.each and beyond:
        yield f"each: true is not allowed with keep: {of.keep}; take highest, lowest or drawn."


def _program_problems(command: Sequence[str]) -> Iterator[str]:
    """A program that cannot be run, or a script for it that is not there."""
    program, *arguments = command
    if shutil.which(program) is None:
        if "/" not in program:
            yield f"command: program '{program}' is not on PATH; give its path, such as ./verify."
        elif Path(program).is_file():
            yield f"command: '{program}' is not executable; make it so (chmod +x), or name an interpreter before it."
        else:
            yield f"command: file '{program}' not found; paths are relative to {Path.cwd()}."
    for word in arguments:
        if Path(word).suffix.lower() in SCRIPTS and not word.startswith("-") and not Path(word).is_file():
            yield f"command: file '{word}' not found; paths are relative to {Path.cwd()}."


def center_problems(of: Filter, numbers: int, what: str) -> Iterator[str]:
    """A center that does not have as many `numbers` as are needed, and `what` they are."""
    if of.center is not None and len(of.center) != numbers:
        yield f"center: {len(of.center)} numbers; {what}, {numbers}, are needed."
