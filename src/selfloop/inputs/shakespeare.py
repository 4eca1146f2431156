"""The packaged corpus: Shakespeare's plays, one document per speech.

The plays are Project Gutenberg's plain texts as the package `shakespeare` (data only, module `shksprdata`) ships them.
The folder is found without importing the package, whose code predates Python 3.
"""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from selfloop.errors import UserError

# The plays, and the first and the second half of those that are not tested on, by name.
NAMES = ("shakespeare", "shakespeare-first-half", "shakespeare-second-half")
MODULE, DISTRIBUTION = "shksprdata", "shakespeare"

# One comedy, one tragedy, one history, one romance. No training document comes from them.
TEST_PLAYS = ("macbeth", "richard_ii", "tempest", "twelfth_night")

# The sonnets and narrative poems have no speakers, so there is no speech to take from them.
NOT_PLAYS = frozenset(
    {"lovers_complaint", "passionate_pilgrim", "phoenix_and_the_turtle", "rape_of_lucrece", "sonnets"}
)

_NUMBER = r"(?:\d+|[IVX]+|FIRST|SECOND|THIRD|FOURTH|FIFTH)"
# What is before the first of these lines is the title and the list of characters.
_BODY = re.compile(rf"^(?:ACT {_NUMBER}|INDUCTION|PROLOGUE)\b\.?", re.MULTILINE | re.IGNORECASE)
_HEADING = re.compile(
    rf"(?:ACT|Act|SCENE|Scene) {_NUMBER}\b|(?:INDUCTION|PROLOGUE|EPILOGUE|DUMB SHOW|THE END|THE ORDER OF .*)\.?$"
)
_NO_WORDS = re.compile(r"(?:SONG|Song|[IVX]+\.)\.?|[^A-Za-z]*")
_DIRECTION = re.compile(r"\[[^\[\]]*\]")
# A few directions have lost their brackets. Only the start of a paragraph counts: "Enter his chamber, view his
# breathless corpse" is spoken, in the middle of one.
_BARE_DIRECTION = re.compile(r"(?:Re-)?[Ee]nter\b|Exit\b|Exeunt\b|Flourish\.|Dead March\.|Here alarum")

# "HAMLET.", "HERMIA", "1. CAR.", "CAESAR, ANTONY, and LEPIDUS.", "SHALLOW, PAGE, &c.", "PRINCE OF Morocco."
_CAPITALS = r"(?:\d\.? )?[A-Z][A-Z'&-]+\.?(?:,? (?:and |of |&c|& )?[A-Z][A-Za-z'&-]*\.?)*(?:,? ?&c)?"
# "Ber.", "First Serv.", "1 Musician.", "P. King.", "Hor. and Mar."
_MIXED = r"(?:\d\.? )?[A-Z][A-Za-z]*\.?(?: (?:and )?[A-Z][A-Za-z]*\.?)*"
_SPEAKER_LINE = re.compile(rf"(?:{_CAPITALS}\.?(?:--)?|{_MIXED}(?<=\.))")
_SPEAKER_INLINE = re.compile(r"(?P<name>(?:\d\.? )?[A-Z][A-Z' ]{2,}|[A-Z][a-z]+)\.\s+(?P<words>\S.*)")


def text_folder() -> Path | None:
    """The folder of the installed plays, or None if the package is not installed."""
    spec = importlib.util.find_spec(MODULE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "texts"
    return folder if folder.is_dir() else None


def plays() -> dict[str, Path]:
    """Name and file of every play, sorted by name.

    The First Folio's transcriptions (`*_gut_f.txt`) are second copies of the same plays and are left out.

    Raises:
        UserError: the package is not installed, or a test play is not among its files.
    """
    folder = text_folder()
    if folder is None:
        raise UserError(f"data.name: 'shakespeare' needs the Python package `{DISTRIBUTION}`, which is not installed")
    found = {path.name.removesuffix("_gut.txt"): path for path in sorted(folder.glob("*_gut.txt"))}
    found = {name: path for name, path in found.items() if name not in NOT_PLAYS}
    missing = sorted(set(TEST_PLAYS) - set(found))
    if missing:
        raise UserError(f"data.name: 'shakespeare' lacks the test plays {', '.join(missing)} in {folder}")
    return found


def speeches(play: str) -> Iterator[str]:
    """The words of each speech in a play's text, in order; a speech's lines are joined by newlines.

    All the plays come in one shape: paragraphs, of which one that begins with a speaker's line begins a speech, and
    one that does not goes on with it (after a stage direction, or in a song). Left out are speakers, stage directions,
    headings, everything before the first act, and paragraphs that no speaker begins.
    """
    play = play.replace("\r\n", "\n").replace("{", "[").replace("}", "]")  # a few brackets are mistyped as braces
    body = _BODY.search(play)
    if body is None:
        return
    paragraphs = [part for part in re.split(r"\n[ \t]*\n", play[body.start() :]) if part.strip()]
    known = {
        lines[0].removesuffix(".") for lines in map(_lines, paragraphs) if lines and _SPEAKER_LINE.fullmatch(lines[0])
    }

    speech: list[str] | None = None  # None: no one speaks
    for lines in (part for paragraph in paragraphs for part in _parts(_lines(paragraph), known)):
        inline = _SPEAKER_INLINE.fullmatch(lines[0])
        if any("[" in line or "]" in line for line in lines):
            # A direction that never closes, or lost its start: what it covers cannot be told from what is spoken.
            begins: list[str] | None = None
        elif _HEADING.match(lines[0]) or _BARE_DIRECTION.match(lines[0]):
            begins = None
        elif _SPEAKER_LINE.fullmatch(lines[0]):
            begins = lines[1:]
        elif inline and (inline["name"].isupper() or inline["name"] in known):
            begins = [inline["words"], *lines[1:]]
        else:
            if speech is not None:
                speech.extend(lines)
            continue
        if speech:
            yield "\n".join(speech)
        speech = begins
    if speech:
        yield "\n".join(speech)


def split(part: str, corpus: str = "shakespeare") -> Iterator[tuple[str, str]]:
    """The speeches of the "train" or the "test" plays, each with its place, e.g. "hamlet, speech 3".

    Args:
        part: the split.
        corpus: of NAMES; halves share the test plays.

    Raises:
        UserError: as `plays`.
    """
    found = plays()
    names = [name for name in found if (name in TEST_PLAYS) == (part == "test")]
    if part == "train" and corpus != "shakespeare":
        middle = len(names) // 2
        names = names[:middle] if corpus == "shakespeare-first-half" else names[middle:]
    for name in names:
        for number, speech in enumerate(speeches(found[name].read_text("utf-8")), start=1):
            yield speech, f"{name}, speech {number}"


def _lines(paragraph: str) -> list[str]:
    """A paragraph's lines without directions, indentation, emphasis, verse numbers and lines without letters."""
    lines = (" ".join(line.replace("_", "").split()) for line in _DIRECTION.sub("", paragraph).split("\n"))
    return [line for line in lines if not _NO_WORDS.fullmatch(line)]


def _parts(lines: list[str], known: set[str]) -> Iterator[list[str]]:
    """A paragraph's lines, cut where the blank line before a known speaker (in capitals) was left out."""
    start = 0
    for number, line in enumerate(lines[1:], start=1):
        inline = _SPEAKER_INLINE.fullmatch(line)
        name = inline["name"] if inline else line.removesuffix(".")
        if name.isupper() and name in known:
            yield lines[start:number]
            start = number
    if lines:
        yield lines[start:]
