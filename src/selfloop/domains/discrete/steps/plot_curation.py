"""Shares of rewarded words under curation, and the exact law of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import BaseModel

from selfloop.analysis.read import regimes_in_order
from selfloop.analysis.show import Artifact, Asking
from selfloop.analysis.style import PANEL, Mark, add_title, model_marks, regime_title, save, styled, wrapped
from selfloop.domains.discrete.curation import Curation, curated
from selfloop.domains.discrete.model import Model, load_checkpoint, tempered
from selfloop.domains.discrete.rows import Array
from selfloop.jobs.job import Job


class Curations(BaseModel):
    """Filters by regime, and temperatures by sampling."""

    filters: dict[str, Curation]
    temperatures: dict[str, float]


Params: TypeAlias = Asking[Curations]


FEWEST = 5.0  # expected rows of a type, below which its share is not normal
MOST_LEVELS = 4  # rewards that are drawn: those of the most rows
COLUMNS = 3


@dataclass(frozen=True)
class Line:
    """One chain under curation.

    Attributes:
        levels: the rewards, ascending (levels,).
        seen: shares of the rows of each reward, by iteration (iterations, levels).
        law: the same by the law, iterated from model 1 on.
        z: of types, by how many standard errors their shares lie off the law, given the model before.
    """

    levels: Array
    seen: Array
    law: Array
    z: Array


def chain(models: Iterable[Model], how: Curation, temperature: float) -> Line:
    """Follow the models of a chain, in their order."""
    own = list(models)
    types = sorted({word for model in own for word in model.types})
    places = {word: place for place, word in enumerate(types)}
    counts = np.zeros((len(own), len(types)))
    for line, model in zip(counts, own, strict=True):
        line[[places[word] for word in model.types]] = model.counts
    rewards = how.of(types)
    levels, level_of = np.unique(rewards, return_inverse=True)
    p = counts / counts.sum(axis=1, keepdims=True)
    expected, z = [p[0]], [np.zeros(0)]
    for before, after in zip(p[:-1], counts[1:], strict=True):
        law, rows = curated(tempered(before, temperature), rewards, how), after.sum()
        known = law * rows >= FEWEST
        z.append((after[known] / rows - law[known]) / np.sqrt(law[known] * (1 - law[known]) / rows))
        expected.append(curated(tempered(expected[-1], temperature), rewards, how))
    sums = (np.stack([np.bincount(level_of, each, len(levels)) for each in of]) for of in (p, expected))
    seen, by_law = (each.astype(np.float64) for each in sums)
    return Line(levels, seen, by_law, np.concatenate(z))


@styled
def curation_figure(panels: Mapping[str, list[Line]], title: str = "") -> Figure:
    """A panel per regime (and experiment), a colour per reward.

    Args:
        panels: the chains of each, by its name.
        title: above the panels; none if empty.
    """
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(PANEL[0] * 1.5 * columns + 1.2, (PANEL[1] + 0.7) * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[len(panels) :]:
        spare.remove()
    largest: dict[float, float] = {}
    for line in (line for own in panels.values() for line in own):
        for level, share in zip(line.levels.tolist(), line.seen.max(axis=0).tolist(), strict=True):
            largest[level] = max(share, largest.get(level, 0.0))
    drawn = sorted(sorted(largest, key=lambda level: -largest[level])[:MOST_LEVELS])
    marks = dict(zip(drawn, model_marks([f"reward {level:g}" for level in drawn]).values(), strict=True))
    for (name, own), place in zip(panels.items(), axes, strict=False):
        z = np.concatenate([line.z for line in own])
        inside = f"{np.mean(np.abs(z) <= 3):.1%} of {len(z):,} shares within 3 SE" if len(z) else "no law to test"
        place.set_title(wrapped(f"{name}: {inside}", 34))
        for line in own:
            _draw(place, line, marks)
        place.set_ylim(0, 1.02)
        place.set_xlabel("Model-fitting iteration")
        place.set_xticks(range(1, max(len(line.seen) for line in own) + 1))
    for level, mark in marks.items():
        style = {"color": mark.colour, "marker": mark.marker, "linestyle": "--", "linewidth": 0.8}
        axes[0].plot([], [], label=f"reward {level:g}", **style)
    figure.supylabel("Share of the rows", fontsize="medium")
    figure.legend(loc="outside right upper")
    add_title(figure, title)
    return figure


def _draw(axes: Axes, line: Line, marks: Mapping[float, Mark]) -> None:
    iterations = np.arange(1, len(line.seen) + 1)
    for place, level in enumerate(line.levels.tolist()):
        if level in marks:
            mark = marks[level]
            axes.plot(iterations, line.seen[:, place], color=mark.colour, marker=mark.marker, linestyle="none")
            axes.plot(iterations, line.law[:, place], color=mark.colour, linestyle="--", linewidth=0.8)


def run(job: Job[Params]) -> None:
    """Draw the job's figure, of the models' checkpoints."""
    asked = job.params.asked
    chains: dict[tuple[str, str, str, int], list[Artifact]] = {}
    for row in job.params.artifacts:
        chains.setdefault((row.regime, row.experiment, row.sampling, row.seed), []).append(row)
    several = len({(row.experiment, row.sampling) for row in job.params.artifacts}) > 1
    panels: dict[str, list[Line]] = {}
    for regime in regimes_in_order(asked.filters):
        for (name, experiment, sampling, _), rows in chains.items():
            if name == regime:
                panel = regime_title(regime) + (f", {experiment}, {sampling}" if several else "")
                models = (load_checkpoint(Path(row.checkpoint)) for row in sorted(rows, key=lambda row: row.iteration))
                found = chain(models, asked.filters[regime], asked.temperatures[sampling])
                panels.setdefault(panel, []).append(found)
    save(curation_figure(panels, job.params.titles["curation"]), [Path(path) for path in job.output["figures"]])
