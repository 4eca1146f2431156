"""Figures of images side by side. Arrays go in, a figure comes out; `style.save` writes it."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfloop.analysis.style import add_title, styled, wrapped

TILE, LETTER = 0.3, 0.055  # inches: an image, and a letter of a row's name
GAP = 1  # pixels between two images
WHITE = 255


def mosaic(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of images, each uint8 [images, bands, size, size], as one image [height, width, bands]; a short row is
    filled up with white."""
    width = max(map(len, rows))
    lines = []
    for images in rows:
        blank = np.full((width - len(images), *images.shape[1:]), WHITE, dtype=np.uint8)
        framed = np.pad(np.concatenate([images, blank]), ((0, 0), (0, 0), (0, GAP), (0, GAP)), constant_values=WHITE)
        lines.append(np.concatenate(list(framed), axis=2))
    whole = np.concatenate(lines, axis=1)[:, :-GAP, :-GAP]
    return whole.transpose(1, 2, 0)


@styled
def grid_figure(blocks: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]], *, title: str = "") -> Figure:
    """Panels of images: one line of panels per block, and in a panel one row of images per name.

    Args:
        blocks: by the name of a block (an experiment), by the name of a panel (a regime), by the name of a row (an
            iteration): images, uint8 [images, bands, size, size].
        title: above the panels; none if empty.
    """
    columns = max(map(len, blocks.values()))
    widths = [max(max(map(len, panel.values())) for panel in panels.values()) for panels in blocks.values()]
    heights = [max(map(len, panels.values())) for panels in blocks.values()]
    labels = max(len(label) for panels in blocks.values() for rows in panels.values() for label in rows)
    width = columns * (TILE * max(widths) + 0.2 + LETTER * labels) + 0.3
    size = (width, sum(TILE * height + 0.3 for height in heights) + 0.3 * bool(title))
    figure = Figure(figsize=size, layout="constrained")
    ratios = [TILE * height + 0.3 for height in heights]
    grid = figure.subplots(len(blocks), columns, squeeze=False, height_ratios=ratios)
    for line, (block, panels) in zip(grid, blocks.items(), strict=True):
        for axes in line[len(panels) :]:
            axes.remove()
        for axes, (name, rows) in zip(line, panels.items(), strict=False):
            _panel(axes, rows)
            axes.set_title(wrapped(name, 34))
        if len(blocks) > 1:
            line[0].set_ylabel(wrapped(block, 30))
    add_title(figure, title)
    return figure


def _panel(axes: Axes, rows: Mapping[str, np.ndarray]) -> None:
    image = mosaic(list(rows.values()))
    gray = image.shape[2] == 1
    shown, colours = (image[:, :, 0], "gray") if gray else (image, None)
    axes.set_anchor("NE")  # a panel of few rows begins where its neighbours do
    axes.imshow(shown, cmap=colours, vmin=0, vmax=WHITE, interpolation="none")
    step = next(iter(rows.values())).shape[2] + GAP
    axes.set_xticks([])
    axes.set_yticks([step * (place + 0.5) - 1 for place in range(len(rows))], list(rows))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
