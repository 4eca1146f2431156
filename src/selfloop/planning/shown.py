"""What a study shows, for its page: the files of every domain, and what they are about. Light."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from selfloop.domains.protocol import Analysis, Domain
from selfloop.planning.paths import FIGURES, TABLES
from selfloop.report.places import ASSETS, CAPTIONS

# What the shared rules of workflow/rules/analysis.smk write: (figures, tables), less the domain's name in front.
LEARNING_CURVES = tuple(f"learning-curves-{x}-{scale}" for x in ("epoch", "step") for scale in ("linear", "log"))
SHARED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "plot_headline": (("headline",), ()),
    "plot_learning_curves": (LEARNING_CURVES, ()),
    "plot_synthetic": (("synthetic",), ()),
    "write_tables": ((), ("headline", "trend")),
    "write_samples": ((), ("samples",)),
}


@dataclass(frozen=True)
class Shown:
    """What one rule shows of one domain: figures and tables by name, and the caption that explains them."""

    rule: str
    figures: tuple[str, ...]
    tables: tuple[str, ...]
    caption: str  # file below CAPTIONS


def shown(domain: Domain, rules: Sequence[str], analyses: Sequence[Analysis]) -> list[Shown]:
    """What the rules that show a domain write; `rules` and `analyses` as a plan's `shown_by` and `analyses` are."""
    own = {f"{domain.name}_{analysis.step}": analysis for analysis in analyses}
    found = []
    for rule in rules:
        if rule in own:
            figures, tables = own[rule].figures, own[rule].tables
        else:
            figures, tables = SHARED[rule]
        names = [tuple(f"{domain.name}-{name}" for name in kind) for kind in (figures, tables)]
        found.append(Shown(rule, names[0], names[1], caption(rule)))
    return found


def caption(rule: str) -> str:
    """The file below CAPTIONS that explains what a rule shows; a domain's own analysis may have none of its own."""
    return f"{rule}.rst" if (CAPTIONS / f"{rule}.rst").is_file() else "own_analysis.rst"


def files(entries: Sequence[Shown], formats: Sequence[str]) -> list[str]:
    """The paths that `entries` name, relative to the working folder."""
    return [
        *(f"{FIGURES}/{name}.{form}" for entry in entries for name in entry.figures for form in formats),
        *(f"{TABLES}/{name}.{form}" for entry in entries for name in entry.tables for form in ("csv", "md")),
    ]


def domain_spec(domain: Domain, entries: Sequence[Shown]) -> dict[str, Any]:
    """A domain as the page needs to know it, as JSON values."""
    return {
        "name": domain.name,
        "headline": asdict(domain.headline),
        "curve": None if domain.curve is None else asdict(domain.curve),
        "synthetic": [asdict(quantity) for quantity in domain.synthetic],
        "shown": [asdict(entry) for entry in entries],
    }


def looks() -> str:
    """Digest of what the page looks like besides its code: the template, its style and script, and the captions."""
    total = hashlib.sha256()
    for path in sorted([*ASSETS.iterdir(), *CAPTIONS.iterdir()]):
        if path.is_file():
            total.update(f"{path.name}\0".encode() + path.read_bytes())
    return total.hexdigest()[:12]
