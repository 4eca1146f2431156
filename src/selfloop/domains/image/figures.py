"""Figures of images side by side. Arrays go in, a figure comes out; `style.save` writes it."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from selfloop.analysis.style import add_title, styled, wrapped

TILE, LETTER = 0.3, 0.055  # inches: an image, and a letter of a row's name
MOST_COLUMNS = 3
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
    """Panels of images, at most three side by side, and in a panel one row of images per name.

    Args:
        blocks: by the name of a block (an experiment), by the name of a panel (a regime), by the name of a row (an
            iteration): images, uint8 [images, bands, size, size]. A block starts a new line, with its name
            where there are several.
        title: above the panels; none if empty.
    """
    columns = min(MOST_COLUMNS, max(map(len, blocks.values())))
    lines: list[tuple[str, list[tuple[str, Mapping[str, np.ndarray]]]]] = []
    for block, panels in blocks.items():
        items = list(panels.items())
        lines += [
            (block if begin == 0 else "", items[begin : begin + columns]) for begin in range(0, len(items), columns)
        ]
    shown = [rows for _, items in lines for _, rows in items]
    labels = max(len(label) for rows in shown for label in rows)
    most = max(len(images) for rows in shown for images in rows.values())
    heights = [TILE * max(len(rows) for _, rows in items) + 0.3 for _, items in lines]
    size = (columns * (TILE * most + 0.2 + LETTER * labels) + 0.3, sum(heights) + 0.3 * bool(title))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    for line, (block, items) in zip(grid, lines, strict=True):
        for spare in line[len(items) :]:
            spare.remove()
        for axes, (name, rows) in zip(line, items, strict=False):
            _panel(axes, rows, max(len(rows) for _, rows in items))
            axes.set_title(wrapped(name, 34))
        if len(blocks) > 1:
            line[0].set_ylabel(wrapped(block, 30))
    add_title(figure, title)
    return figure


def _panel(axes: Axes, rows: Mapping[str, np.ndarray], height: int) -> None:
    """Rows of images in a panel that has room for `height` of them."""
    image = mosaic(list(rows.values()))
    gray = image.shape[2] == 1
    shown, colours = (image[:, :, 0], "gray") if gray else (image, None)
    axes.imshow(shown, cmap=colours, vmin=0, vmax=WHITE, interpolation="none")
    step = next(iter(rows.values())).shape[2] + GAP
    axes.set_ylim(step * height - GAP - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([step * (row + 0.5) - 1 for row in range(len(rows))], list(rows))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
