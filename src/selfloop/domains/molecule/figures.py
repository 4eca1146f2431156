"""Conformers in 3D: a row of panels per regime, the real one first, then sampled ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Line3DCollection

from selfloop.analysis.style import add_title, regime_title, styled
from selfloop.domains.molecule.data.conformations import Conformation, Floats

# Conventional colours of the most common elements.
COLOURS = {
    1: "#BBBBBB",
    6: "#444444",
    7: "#0072B2",
    8: "#D55E00",
    9: "#56B4E9",
    15: "#E69F00",
    16: "#CC9900",
    17: "#009E73",
    35: "#8B3A1A",
    53: "#7A3A9A",
}
OTHER = "#CC79A7"
PANEL = 1.55  # inches
HALF_WIDTH = 6.0  # Å; a panel shows twice as much, or more if the real molecule is larger


@dataclass(frozen=True)
class Panel:
    """One conformer, and where it came from: a regime, and an iteration or 0 for the real one."""

    regime: str
    iteration: int
    conformation: Conformation


def superposed(points: Floats, onto: Floats) -> npt.NDArray[np.float64]:
    """`points` [n, 3] superposed onto `onto` [n, 3] (Kabsch 1976), both centred."""
    a, b = (each.astype(np.float64) - each.mean(axis=0) for each in (points, onto))
    u, _, vt = np.linalg.svd(a.T @ b)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    return np.asarray(a @ u @ flip @ vt)


def flattest(points: Floats) -> npt.NDArray[np.float64]:
    """`points` [n, 3] in their principal axes, so that the widest plane faces the viewer."""
    centred = points.astype(np.float64) - points.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes[2] *= np.sign(np.linalg.det(axes)) or 1.0
    return np.asarray(centred @ axes.T)


@styled
def conformers_figure(real: Conformation, panels: Sequence[Panel], *, title: str = "") -> Figure:
    """A grid of conformers of one molecule, each superposed onto the real one.

    Args:
        real: the real conformer, in the first panel of each row.
        panels: samples of the same molecule, any number of regimes and iterations.
        title: above the panels; none if empty.
    """
    regimes = list(dict.fromkeys(panel.regime for panel in panels))
    iterations = sorted({panel.iteration for panel in panels})
    frame = flattest(real.coordinates)
    width = max(HALF_WIDTH, float(np.abs(frame).max()) + 0.5)
    figure = Figure(figsize=(PANEL * (1 + len(iterations)) + 0.3, PANEL * len(regimes) + 0.55), layout="constrained")
    for row, regime in enumerate(regimes):
        for column, iteration in enumerate([0, *iterations]):
            place = row * (1 + len(iterations)) + column + 1
            axes = figure.add_subplot(len(regimes), 1 + len(iterations), place, projection="3d")
            found = [panel for panel in panels if (panel.regime, panel.iteration) == (regime, iteration)]
            if iteration == 0:
                _draw(axes, real, frame)
            elif found:
                points = superposed(found[0].conformation.coordinates, frame.astype(np.float32))
                _draw(axes, found[0].conformation, points)
            axes.set(xlim=(-width, width), ylim=(-width, width), zlim=(-width, width))
            axes.set_box_aspect((1, 1, 1), zoom=1.5)
            axes.set_proj_type("ortho")
            axes.view_init(elev=90, azim=-90)
            axes.set_axis_off()
            heading = "Real" if iteration == 0 else f"Iteration {iteration}"
            if row == 0:
                axes.set_title(heading)
            if column == 0:
                axes.text2D(-0.02, 0.5, regime_title(regime), rotation=90, va="center", transform=axes.transAxes)
    add_title(figure, title)
    return figure


def _draw(axes: object, conformation: Conformation, points: npt.NDArray[np.float64]) -> None:
    numbers = [int(number) for number in conformation.atomic_numbers]
    colours = [COLOURS.get(number, OTHER) for number in numbers]
    ends = points[conformation.bonds[:, :2]]
    middle = ends.mean(axis=1, keepdims=True)
    # A bond in two halves, each in its atom's colour.
    halves = np.concatenate(
        [np.stack([ends[:, :1], middle], axis=2)[:, 0], np.stack([ends[:, 1:], middle], axis=2)[:, 0]]
    )
    shades = [to_rgb(colours[atom]) for side in (0, 1) for atom in conformation.bonds[:, side]]
    axes.add_collection3d(Line3DCollection(halves, colors=shades, linewidths=1.2))  # type: ignore[attr-defined]
    sizes = [5 if number == 1 else 14 for number in numbers]
    axes.scatter(*points.T, c=colours, s=sizes, linewidths=0, depthshade=False)  # type: ignore[attr-defined]
