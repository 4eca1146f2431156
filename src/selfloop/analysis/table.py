"""Tables for readers, as Markdown in which no sampled or user-given text acts as markup."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from selfloop.data.atomic import atomic_file
from selfloop.data.quantity import Quantity

# Markdown never interprets a character reference. Underscores within words and colons outside URLs are harmless.
_ACTIVE = re.compile(r"[&<>|`*\[\]\\~$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|@|(?<=www)\.", re.IGNORECASE)
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Bidirectional controls would reorder the rest of the line.
_DIRECTIONS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Of a text's beginning. Apostrophes before it are counted, so that reading takes away just what writing has added.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")
_QUOTED_FORMULA = re.compile(rf"\A'(?={_FORMULA.pattern})")
FORMULA_NOTE = (
    "In the CSV file, a text that begins with =, +, - or @ has an apostrophe (') before it, so that no spreadsheet "
    "takes it for a formula."
)


@dataclass(frozen=True)
class Table:
    """Headings, rows of cells, and notes below them."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """The table in Markdown; all but the notes is escaped."""
        rows = [[escaped(cell) for cell in row] for row in self.rows]
        table = tabulate(rows, [escaped(cell) for cell in self.headings], "pipe", disable_numparse=True)
        return "\n\n".join([table, *self.notes]) + "\n"


def save_table(data: pd.DataFrame, shown: Table, paths: Sequence[Path]) -> None:
    """Write the data as CSV (UTF-8; numbers read back equal) and the table for readers as Markdown, atomically.

    A text that a spreadsheet would take for a formula has an apostrophe before it in the CSV, and a note says so.
    """
    safe = data.assign(**{name: data[name].map(_no_formula) for name in data if name in TEXTS})
    if not safe.equals(data):
        shown = replace(shown, notes=[*shown.notes, FORMULA_NOTE])
    texts = {".csv": safe.to_csv(index=False, lineterminator="\n"), ".md": shown.markdown()}
    for path in paths:
        with atomic_file(path) as scratch:
            scratch.write_text(texts[path.suffix], encoding="utf-8", newline="")


# By name of a table: the table for readers, from its data and the domain's headline quantity.
Readable = Mapping[str, Callable[[pd.DataFrame, Quantity], Table]]
TEXTS = frozenset(
    {
        "experiment",
        "model",
        "regime",
        "sampling",
        "column",
        "metric",
        "source",
        "reading",
        "paper_row",
        "text",
        "prediction",
    }
)
TEXTS |= {"domain", "phenomenon", "word", "reason"}


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV back with exactly the strings and numbers that were written; missing ones are None or NaN."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    for name, texts in frame.items():
        if name in TEXTS:
            frame[name] = texts.str.replace(_QUOTED_FORMULA, "", regex=True).where(texts != "", None)
        else:
            is_whole = texts.str.fullmatch(r"-?\d+").all()
            frame[name] = texts.map(int) if is_whole else texts.replace("", "nan").map(float)
    return frame


def _no_formula(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def plain(text: str) -> str:
    """The text with control characters replaced by U+FFFD, line breaks normalised and ends stripped."""
    lines = "\n".join(text.splitlines())
    kept = (
        "\ufffd"
        if character in _DIRECTIONS or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t")
        else character
        for character in lines
    )
    return "".join(kept).strip()


def one_line(text: str) -> str:
    """The plain text with line breaks replaced by " / "."""
    return re.sub(r"\s*\n\s*", " / ", plain(text))


def escaped(text: str) -> str:
    """The text as one line of Markdown: active characters become character references."""
    return _ACTIVE.sub(lambda match: _NAMED.get(match[0], f"&#{ord(match[0])};"), one_line(text))
