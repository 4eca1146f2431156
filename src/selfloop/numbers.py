"""Numbers for people: counts, sizes, durations and aligned tables, the same wherever they are printed."""

import math
from collections.abc import Sequence

from tabulate import tabulate

PREFIXES = ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


DASH, MINUS = "\u2013", "\u2212"


def measured(value: float, signed: bool = False, figures: int = 3) -> str:
    """A measured value with `figures` significant digits; NaN as an en dash."""
    if math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    sign, size = "+" if signed else "", abs(value)
    kind = f"#.{figures}g" if value == 0 or 1e-4 <= size < 10**figures - 0.5 else ",.0f"
    text = f"{value:{sign}{kind}}" if size >= 1e-4 or value == 0 else f"{value:{sign}.1e}"
    return text.rstrip(".").replace("-", MINUS)


def short(number: float, gap: str = "") -> str:
    """Three digits and an SI prefix: 470M, 1.02G; `gap` stands between the two."""
    for limit, prefix in PREFIXES:
        if number >= limit * 0.9995:
            value = number / limit
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{gap}{prefix}"
    return f"{number:.0f}{gap}"


def size(count: float) -> str:
    """Bytes: 1.02 GB."""
    return f"{short(count, ' ')}B"


def duration(seconds: float | None) -> str:
    """A time span: 0.42 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h; "?" where it is unknown."""
    if seconds is None or math.isnan(seconds):
        return "?"
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 0.01 else "0 s"
    whole = round(seconds)
    for unit, name, below, smaller in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {smaller}"
    return f"{whole} s"


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows of cells, headings among them, with their columns aligned; the columns `right` to the right."""
    align = ["right" if column in right else "left" for column in range(len(rows[0]))]
    text = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align)
    return "\n".join(line.rstrip() for line in text.splitlines())
