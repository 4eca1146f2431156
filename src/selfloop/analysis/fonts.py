"""Fonts for what matplotlib's own lack: Chinese, Japanese, Korean and other scripts, where the machine has one."""

import logging
import sys
import unicodedata
from contextlib import suppress
from functools import cache

import matplotlib
from matplotlib.figure import Figure
from matplotlib.font_manager import FontEntry, FontProperties, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.typing import RcKeyType

# What a user's matplotlibrc may say of fonts; everything else of it is left aside.
KEYS: tuple[RcKeyType, ...] = (
    "font.family",
    "font.sans-serif",
    "font.serif",
    "font.monospace",
    "font.cursive",
    "font.fantasy",
)
_LAST_RESORT = "Last Resort"  # draws boxes


def use_installed(figure: Figure, name: str) -> None:
    """Let each text of a figure fall back to installed fonts for characters that its own ones lack.

    What no font has is drawn as boxes, and said once, in the log and on the terminal, by the figure's name.
    """
    lacking: dict[str, str] = {}  # by the characters, the text
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        families = text.get_fontfamily()
        if missing := _visible(text.get_text()) - _covered(tuple(families)):
            fonts, left = _fonts_for(missing)
            text.set_fontfamily([*families, *fonts])
            if left:
                shown = " ".join(text.get_text().split())
                lacking["".join(letter for letter in dict.fromkeys(shown) if letter in left)] = shown
    for characters, text_of in lacking.items():
        _say(
            f"{name}: no installed font has the characters {characters} of '{text_of}', which show as boxes. Install a "
            f"font that has them (such as fonts-noto-cjk), or set another title below figures.titles."
        )


def _say(message: str) -> None:
    log = logging.getLogger("selfloop")
    log.warning("%s", message)
    if not log.propagate:  # a step's log goes to its file alone
        print(f"selfloop: {message}", file=sys.stderr)


def _visible(text: str) -> set[str]:
    """The characters that need a glyph, ASCII aside, which every font has."""
    return {
        letter
        for letter in text
        if ord(letter) > 127 and unicodedata.category(letter)[0] not in "CZ" and not "\ufe00" <= letter <= "\ufe0f"
    }


def _covered(families: tuple[str, ...]) -> set[str]:
    settings: dict[str, list[str]] = {key: matplotlib.rcParams[key] for key in KEYS}
    names = [name for family in families for name in settings.get(f"font.{family}", [family])]
    return set().union(*(_characters(path) for path in map(_path, names) if path is not None))


@cache
def _path(family: str) -> str | None:
    try:
        return str(fontManager.findfont(FontProperties(family=[family]), fallback_to_default=False))
    except ValueError:
        return None


@cache
def _characters(path: str) -> frozenset[str]:
    """What a font's file can draw; nothing if it cannot be read, or holds bitmaps."""
    try:
        font = FT2Font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


def _fonts_for(missing: set[str]) -> tuple[list[str], set[str]]:
    """The families of the fewest fonts that have the characters, the same each time, and what none of them has."""
    fonts: list[str] = []
    for again in (False, True):
        if again and missing:
            _add_new_fonts()
        while missing:
            best = min(fontManager.ttflist, key=lambda entry: _rank(entry, missing))
            if not (drawn := missing & _of(best)):
                break
            fonts.append(best.name)
            missing = missing - drawn
    return fonts, missing


def _of(entry: FontEntry) -> frozenset[str]:
    return frozenset() if entry.name.startswith(_LAST_RESORT) else _characters(entry.fname)


def _rank(entry: FontEntry, missing: set[str]) -> tuple[object, ...]:
    upright = (entry.style != "normal", entry.weight != 400, entry.stretch != "normal")
    return (-len(missing & _of(entry)), "Sans" not in entry.name, *upright, entry.name, entry.fname)


def _add_new_fonts() -> None:
    """Add fonts that were installed after matplotlib had listed them in its cache."""
    known = {entry.fname for entry in fontManager.ttflist}
    for path in sorted(set(findSystemFonts()) - known):
        with suppress(OSError, RuntimeError, ValueError):
            fontManager.addfont(path)
