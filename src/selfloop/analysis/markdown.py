"""Text for Markdown tables in which nothing that a model sampled, or a user named, acts as Markdown or HTML."""

import re
import unicodedata
from collections.abc import Sequence

# A character reference never opens a construct of Markdown, so that what it stands for is shown and does nothing.
# Underscores within a word and colons outside an address are harmless and stay readable.
_ACTIVE = re.compile(r"[&<>|`*\[\]\\~$]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|@|(?<=www)\.", re.IGNORECASE)
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# Explicit directions of writing reach beyond the sample: they would turn the rest of the line around.
_DIRECTIONS = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


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


def truncated(text: str, characters: int) -> str:
    """The text, or its beginning and an ellipsis: at most so many characters (at least 1)."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def escaped(text: str) -> str:
    """The text as one line that shows in Markdown as it is: line breaks as " / ", active characters as references."""
    line = re.sub(r"\s*\n\s*", " / ", plain(text))
    return _ACTIVE.sub(lambda match: _NAMED.get(match[0], f"&#{ord(match[0])};"), line)


def markdown_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """A page with a heading, a table and notes below it. All but the notes is escaped."""
    lines = [f"# {escaped(title)}", ""] if title else []
    lines += [f"| {' | '.join(map(escaped, headings))} |", f"|{' --- |' * len(headings)}"]
    lines += [f"| {' | '.join(map(escaped, row))} |" for row in rows]
    for note in notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"
