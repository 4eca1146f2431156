"""Images side by side."""

import numpy as np

from selfloop.domains.image.figures import GAP, WHITE, grid_figure, mosaic


def test_a_mosaic_holds_every_image_in_its_place() -> None:
    rows = [np.arange(3 * 4, dtype=np.uint8).reshape(3, 1, 2, 2), np.full((1, 1, 2, 2), 99, dtype=np.uint8)]
    image = mosaic(rows)
    assert image.shape == (2 * 2 + GAP, 3 * 2 + 2 * GAP, 1)
    step = 2 + GAP
    for place in range(3):
        assert np.array_equal(image[:2, place * step : place * step + 2, 0], rows[0][place, 0])
    assert (image[step:, :2] == 99).all()
    assert (image[step:, step:] == WHITE).all()


def test_colours_stay_colours() -> None:
    red = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    red[:, 0] = 200
    assert mosaic([red])[0, 0].tolist() == [200, 0, 0]


def test_a_figure_has_a_panel_per_regime_and_a_row_per_iteration() -> None:
    images = np.zeros((2, 1, 4, 4), dtype=np.uint8)
    panels = {"Replace": {"1": images, "2": images}, "Accumulate": {"1": images}}
    figure = grid_figure({"a": panels, "b": {"Replace": {"1": images}}}, title="Faces")
    assert [axes.get_title() for axes in figure.axes] == ["Replace", "Accumulate", "Replace"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["1", "2"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["a", "", "b"]
