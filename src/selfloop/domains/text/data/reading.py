"""From the values of a source to its documents: prompts joined to responses, paragraphs, what is dropped."""

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from selfloop.domains.text.config import Division
from selfloop.domains.text.data import files
from selfloop.domains.text.data.files import Raw
from selfloop.errors import UserError
from selfloop.inputs.files import Found

PARAGRAPH_END = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")  # blank lines

# Between a prompt and its response, where there are prompts; no text holds it.
PROMPT_END = "\0"


@dataclass
class Tally:
    """Counts of dropped documents and of what else the log should say, and hashes of the kept ones."""

    null: int = 0
    short: int = 0
    notes: Found = field(default_factory=Found)
    hashes: "array[int]" = field(default_factory=lambda: array("Q"))


def in_file(
    path: Path, column: str, separator: str, division: Division, notes: Found, prompts: str | None = None
) -> Raw:
    """The values of one file, in order."""
    values = divided(division, files.documents(path, column, separator, notes, may_lack=division != "whole"))
    if prompts is None:
        return values
    return with_prompts(files.documents(path, prompts, separator, Found(), key="prompt_column"), values)


def with_prompts(prompts: Raw, responses: Raw) -> Raw:
    """Pairs of the values of two columns; None if one of them is."""
    for (prompt, place), (response, _) in zip(prompts, responses, strict=True):
        yield (None if prompt is None or response is None else (prompt, response)), place


def divided(division: Division, values: Raw) -> Raw:
    """The paragraphs of each value that is text, if they are documents; otherwise the values as they are."""
    if division == "whole" or not division.paragraphs:
        yield from values
        return
    for value, place in values:
        if isinstance(value, str):
            yield from ((piece, place) for piece in PARAGRAPH_END.split(value.strip()))
        else:
            yield value, place


def kept(raw: Raw, min_characters: int, tally: Tally) -> Iterator[tuple[str, str]]:
    """Validate values and drop null and short ones; yields documents with their locations.

    Of a pair of a prompt and a response, both are validated, and the response may be short.

    Raises:
        UserError: a value that is not a string of valid text, with its location.
    """
    for value, place in raw:
        if value is None:
            tally.null += 1
            continue
        texts = [_checked(each, place) for each in (value if isinstance(value, tuple) else [value])]
        if len(texts[-1].strip()) < max(1, min_characters):
            tally.short += 1
            continue
        if "\ufeff" in texts[-1]:
            tally.notes.add("documents hold a byte order mark (U+FEFF), as where files were joined", place)
        yield PROMPT_END.join(texts), place


def _checked(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{place}: the text is a {type(value).__name__}, {str(value)[:60]!r} (allowed are strings)")
    if "\0" in value:
        raise UserError(f"{place}: the text holds a NUL character (allowed is text in UTF-8)")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UserError(f"{place}: the text holds half a surrogate pair (allowed is text in UTF-8)") from None
    return value
