"""How figures look and are written: the same inputs give the same bytes."""

import itertools
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Literal, ParamSpec, TypedDict, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from matplotlib.typing import RcKeyType

from selfloop.analysis import fonts
from selfloop.analysis.read import regimes_in_order
from selfloop.data.atomic import atomic_file
from selfloop.data.quantity import Quantity
from selfloop.data.regimes import BUILT_IN

P = ParamSpec("P")
R = TypeVar("R")


class Style(TypedDict, total=False):
    """How lines and marks look, as matplotlib's functions take it."""

    linestyle: Literal["none", "-", "--", ":", "-."]
    linewidth: float
    zorder: float
    marker: str
    markersize: float
    markerfacecolor: str
    markeredgewidth: float


class Coloured(Style, total=False):
    """The same, with a colour."""

    color: str


Scale = Literal["linear", "log"]
LineStyle = Literal["-", "--", ":", "-."] | tuple[float, Sequence[float]]

PANEL = (1.75, 1.85)  # width and height in inches
PNG_DPI = 150
# Without dates and versions, which would change the bytes.
_METADATA: dict[str, dict[str, str | None]] = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}

# Sizes in points, for figures printed at their own size: three panels and a legend fill a text width of 6.8 inches.
_RC: dict[RcKeyType, object] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "figure.titlesize": 9,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a dollar sign in a user's title is a dollar sign
    "svg.hashsalt": "selfloop",
}


@dataclass(frozen=True)
class Mark:
    """Colour and marker of a line; markers tell lines apart in grey, too."""

    colour: str
    marker: str


# What is left of Okabe and Ito's colours (yellow aside, which is too pale for a line), grey, Paul Tol's olive and teal.
_OTHER_REGIMES = (
    Mark("#D55E00", "X"),
    Mark("#CC79A7", "*"),
    Mark("#777777", "h"),
    Mark("#999933", "1"),
    Mark("#44AA99", "d"),
)

# Paul Tol's bright scheme: a colour never means a regime in one figure and a model in the next.
_BRIGHT = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#777777")
_MODELS = tuple(itertools.starmap(Mark, zip(_BRIGHT, "os^DvPX", strict=True)))
# By the names that CSS and Bokeh have for them, or for the nearest pattern.
LINES: dict[str, LineStyle] = {
    "solid": "-",
    "dashed": "--",
    "dotted": ":",
    "dashdot": "-.",
    "dotdash": (0, (5, 1, 1, 1, 1, 1)),
}


def regime_marks(regimes: Iterable[str]) -> dict[str, Mark]:
    """A mark for every regime. Pass all regimes of a study, so that they look the same in all its domains.

    A user's regimes take the remaining colours in order of their names, cyclically.
    """
    others = itertools.cycle(_OTHER_REGIMES)
    return {
        name: Mark(BUILT_IN[name].colour, BUILT_IN[name].marker) if name in BUILT_IN else next(others)
        for name in regimes_in_order(regimes)
    }


def model_marks(labels: Sequence[str]) -> dict[str, Mark]:
    """A mark for every model, in the order given; a repeated colour has another marker."""
    count = len(_MODELS)
    return {
        label: Mark(_MODELS[place % count].colour, _MODELS[(place + place // count) % count].marker)
        for place, label in enumerate(labels)
    }


def line_styles(names: Sequence[str]) -> dict[str, LineStyle]:
    """A dash pattern for every name (a sampling, say); the first is solid."""
    return dict(zip(names, itertools.cycle(LINES.values()), strict=False))


def regime_title(name: str) -> str:
    """A regime's name as a panel's title: "replace-multiple" becomes "Replace-Multiple"."""
    return "-".join(part[:1].upper() + part[1:] for part in name.split("-"))


def wrapped(text: str, width: int) -> str:
    """Break a text into lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(text, width)) or text


def axis_label(quantity: Quantity) -> str:
    """Label and unit, on two lines where one is longer than a panel is high."""
    return quantity.axis if len(quantity.axis) <= 30 else quantity.axis.replace(" (", "\n(")


def add_title(figure: Figure, title: str) -> None:
    """Put a title at the top left, left of the legend; none if it is empty."""
    if title:
        # Twelve characters to the inch at the title's size, and 1.3 inches for the legend.
        figure.suptitle(wrapped(title, int((figure.get_figwidth() - 1.3) * 12)), x=0.02, ha="left")


def scale_values(axes: Axes, scale: Scale) -> None:
    """Set the scale of the vertical axis, after the last line is drawn: a log scale's ticks depend on the range.

    Axes without a positive value stay linear.
    """
    if scale == "log" and math.isfinite(axes.dataLim.minposy):
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        narrow = high / low < 30  # powers of ten alone would give one tick or none
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if narrow else (1,)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a function under this module's settings; of the user's matplotlibrc, only its fonts count."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context():
            chosen = {key: matplotlib.rcParamsOrig[key] for key in fonts.KEYS}
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(chosen)
            matplotlib.rcParams.update(_RC)
            return draw(*args, **kwargs)

    return drawn


@styled
def save(figure: Figure, paths: Sequence[Path]) -> None:
    """Write a figure by atomic writes, with the same bytes each time.

    Raises:
        ValueError: a path ends in neither .png nor .svg; nothing is written.
    """
    for path in paths:
        if path.suffix not in _METADATA:
            raise ValueError(f"{path}: a figure's file ends in {' or '.join(_METADATA)}")
    if paths:
        fonts.use_installed(figure, paths[0].stem)
    for path in paths:
        with atomic_file(path) as scratch, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # said above
            figure.savefig(scratch, format=path.suffix[1:], dpi=PNG_DPI, metadata=_METADATA[path.suffix])
