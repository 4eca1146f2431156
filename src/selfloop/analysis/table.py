"""A table to read: for a file, as Markdown in which nothing that a model sampled, or a user named, acts."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from selfloop.data.atomic import atomic_file
from selfloop.data.quantity import Quantity

# A character reference never opens a construct of Markdown, so that what it stands for is shown and does nothing.
# Underscores within a word and colons outside an address are harmless and stay readable.
_ACTIVE = re.compile(r"[&<>|`*\[\]\\~$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|@|(?<=www)\.", re.IGNORECASE)
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Explicit directions of writing reach beyond the sample: they would turn the rest of the line around.
_DIRECTIONS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Table:
    """Headings, rows of texts, and notes to stand below them."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """As a file; all but the notes is escaped."""
        rows = [[escaped(cell) for cell in row] for row in self.rows]
        table = tabulate(rows, [escaped(cell) for cell in self.headings], "pipe", disable_numparse=True)
        return "\n\n".join([table, *self.notes]) + "\n"


def save_table(data: pd.DataFrame, shown: Table, paths: Sequence[Path]) -> None:
    """Write data as CSV (UTF-8; numbers read back equal) and what is shown of them as Markdown, by atomic writes."""
    texts = {".csv": data.to_csv(index=False, lineterminator="\n"), ".md": shown.markdown()}
    for path in paths:
        with atomic_file(path) as scratch:
            scratch.write_text(texts[path.suffix], encoding="utf-8", newline="")


# How the CSV of a table, by name, is shown to readers; the quantity is the domain's headline.
Readable = Mapping[str, Callable[[pd.DataFrame, Quantity], Table]]
TEXTS = frozenset({"experiment", "model", "regime", "sampling", "column", "reading", "paper_row", "text"})


def read_table(path: Path) -> pd.DataFrame:
    """A table's CSV, with the very texts and numbers that were written; what is missing is None or NaN."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    for name, texts in frame.items():
        if name in TEXTS:
            frame[name] = texts.where(texts != "", None)
        else:
            is_whole = texts.str.fullmatch(r"-?\d+").all()
            frame[name] = texts.map(int) if is_whole else texts.replace("", "nan").map(float)
    return frame


def plain(text: str) -> str:
    """The text without what no file or terminal should get: control characters and the like become U+FFFD.

    Tabs and line breaks stay (every kind of break becomes a line feed), and white space at both ends goes.
    """
    lines = "\n".join(text.splitlines())
    kept = (
        "\ufffd"
        if character in _DIRECTIONS or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t")
        else character
        for character in lines
    )
    return "".join(kept).strip()


def one_line(text: str) -> str:
    """The plain text with " / " for line breaks."""
    return re.sub(r"\s*\n\s*", " / ", plain(text))


def escaped(text: str) -> str:
    """The text as one line that shows in Markdown as it is: active characters become character references."""
    return _ACTIVE.sub(lambda match: _NAMED.get(match[0], f"&#{ord(match[0])};"), one_line(text))
