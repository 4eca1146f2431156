"""The page of a study as a reader's browser shows it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from ..workflow.conftest import Workflow
from .chromium import Chromium

NARROW, WIDE = 390, 1440


@pytest.fixture(params=[NARROW, WIDE])
def width(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


def rectangle(browser: Chromium, selector: str) -> dict[str, float]:
    """Where an element lies in the page."""
    found: dict[str, float] = browser.evaluate(
        f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();"
        " return {x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height}; })()"
    )
    return found


def picture(browser: Chromium, selector: str, target: Path) -> np.ndarray:
    """An element's pixels, (height, width, 3), from 0 to 1."""
    return matplotlib.image.imread(browser.picture(target, rectangle(browser, selector)))[:, :, :3]


def drawn(pixels: np.ndarray) -> float:
    """The share of pixels that are not white."""
    return float((pixels.min(axis=2) < 0.95).mean())


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    """How many pixels have a colour."""
    return int((np.abs(pixels * 255 - np.array(colour)).max(axis=2) < 12).sum())


def ids(browser: Chromium, selector: str) -> list[str]:
    found: list[str] = browser.evaluate(f"Array.from(document.querySelectorAll({selector!r}), e => e.id)")
    return found


def test_it_opens_without_a_complaint_and_without_the_network(browser: Chromium, page: Path, width: int) -> None:
    browser.open(page, width)
    assert browser.complaints() == []
    assert browser.requests() == [page.resolve().as_uri()]


def test_nothing_is_wider_than_the_window(browser: Chromium, page: Path, width: int) -> None:
    browser.open(page, width)
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    beyond = browser.evaluate(
        "Array.from(document.querySelectorAll('body *')).filter(e => !e.closest('.scroll, pre, .plot')"
        f" && e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert beyond == []


def test_text_is_large_enough_to_read(browser: Chromium, page: Path, width: int) -> None:
    browser.open(page, width)
    smallest = browser.evaluate(
        "Math.min(...Array.from(document.querySelectorAll('p, li, td, th, figcaption, label, summary'),"
        " e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert smallest >= 12


def test_every_figure_is_there_and_not_blank(browser: Chromium, page: Path, study: Workflow, tmp_path: Path) -> None:
    browser.open(page, WIDE)
    expected = {path.stem for path in (study.folder / "results/figures").glob("[!.]*")}
    assert set(ids(browser, "figure")) == expected
    assert len(expected) >= 9
    for name in sorted(expected):
        # Figures are decoded when they come into view.
        image = f"document.querySelector('#{name} img')"
        width = browser.evaluate(f"{image}.loading = 'eager', {image}.decode().then(() => {image}.naturalWidth)")
        assert width > 100, name
        assert drawn(picture(browser, f"#{name} img", tmp_path / "figure.png")) > 0.01, name


def test_every_table_is_there(browser: Chromium, page: Path, study: Workflow) -> None:
    browser.open(page, WIDE)
    expected = {f"{path.stem}-table" for path in (study.folder / "results/tables").glob("[!.]*")}
    expected -= {"profile-table"}  # the grid of the phenomena
    assert set(ids(browser, "details[id]")) == expected
    rows = browser.evaluate("Array.from(document.querySelectorAll('details[id] table'), t => t.rows.length)")
    assert len(rows) == len(expected) and min(rows) >= 2


def test_toggles_show_and_hide_regimes_and_models(browser: Chromium, page: Path, tmp_path: Path) -> None:
    browser.open(page, WIDE)
    accumulate = (0, 114, 178)  # its colour, in every figure

    def chart() -> np.ndarray:
        # A frame for the drawing, and one for what follows from it.
        browser.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        return picture(browser, "#text-test-plot", tmp_path / "chart.png")

    def toggle(kind: str, name: str) -> None:
        browser.evaluate(f"document.querySelector('#text-test-chart input[data-{kind}=\"{name}\"]').click()")

    before = chart()
    assert near(before, accumulate) > 50
    toggle("regime", "accumulate")
    assert near(chart(), accumulate) == 0
    toggle("regime", "accumulate")
    assert near(chart(), accumulate) > 50
    models = browser.evaluate(
        "Array.from(document.querySelectorAll('#text-test-chart input[data-series]'), e => e.dataset.series)"
    )
    assert len(models) == 2
    for model in models:
        toggle("series", model)
    assert near(chart(), accumulate) == 0


def test_pointing_at_a_mark_shows_its_values(browser: Chromium, page: Path) -> None:
    browser.open(page, WIDE)
    place = browser.evaluate(
        "(async () => { const view = (await window.charts)[0];"
        " const { data } = view.model.renderers.find(r => r.glyph.type === 'Scatter').data_source;"
        " view.el.scrollIntoView({ behavior: 'instant', block: 'center' });"
        " const { x, y } = view.el.getBoundingClientRect();"
        " return { x: x + view.frame.x_scale.compute(data.iteration[1]),"
        "  y: y + view.frame.y_scale.compute(data.mean[1]) }; })()"
    )
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
    text = browser.evaluate(
        "new Promise(done => setTimeout(() => { const found = []; const walk = root => {"
        " for (const e of root.querySelectorAll('*')) { if (e.shadowRoot) walk(e.shadowRoot);"
        "  if (e.classList.contains('bk-tooltip-row-value')) found.push(e.textContent); } };"
        " walk(document); done(found.join(' | ')); }, 300))"
    )
    assert "replace" in text and "GPT-2" in text


def test_a_row_of_the_paper_leads_to_what_it_is_about(browser: Chromium, page: Path) -> None:
    browser.open(page, WIDE)
    places = browser.evaluate("Array.from(document.querySelectorAll('.claims tbody tr'), r => r.cells[0].textContent)")
    assert len(places) == 12
    dead = browser.evaluate(
        "Array.from(document.querySelectorAll('a[href^=\"#\"]'), a => a.hash).filter(h => !document.querySelector(h))"
    )
    assert dead == []
    browser.evaluate("document.querySelector('.claims a[href=\"#text-samples-table\"]').click()")
    opened: Any = browser.evaluate(
        "new Promise(d => setTimeout(() => d(document.querySelector('#text-samples-table').open), 50))"
    )
    assert opened is True


def test_a_study_that_was_stopped_has_a_page(browser: Chromium, study: Workflow, tmp_path: Path) -> None:
    copy = study.copy(tmp_path / "stopped")
    results = copy.folder / "results"
    for path in (
        results / "metrics.parquet",
        results / "figures/text-headline.svg",
        results / "figures/text-headline.png",
    ):
        path.unlink()
    gone = copy.folder / copy.model_folder("tiny", "replace", 3)
    for path in gone.rglob("*.json"):
        path.unlink()
    cut = copy.folder / copy.model_folder("tiny", "accumulate", 3) / "measurements.json"
    cut.write_text(cut.read_text(encoding="utf-8")[:10], encoding="utf-8")
    command = [sys.executable, "-P", "-m", "selfloop", "report", "--configfile", copy.config, "--output", "page.html"]
    around = {name: value for name, value in os.environ.items() if name.startswith("SELFLOOP_")} | {"PATH": ""}
    done = subprocess.run(command, cwd=copy.folder, env=around, capture_output=True, encoding="utf-8", check=True)
    assert "the study is not finished" in done.stdout
    assert f"left out: {cut.relative_to(copy.folder)} has been damaged or changed" in done.stderr
    browser.open(copy.folder / "page.html", NARROW)
    assert browser.complaints() == []
    assert browser.evaluate("document.documentElement.scrollWidth") == NARROW
    text = browser.evaluate("document.body.innerText")
    assert "This study is not finished." in text
    for regime in ("replace", "accumulate"):
        assert f"tiny, {regime}, seed 0\t2 of 3 iterations; not yet 3" in text
    assert "Drawn for this page from the results so far." in browser.evaluate(
        "document.querySelector('#text-headline').innerText"
    )
    assert "From an earlier run" in browser.evaluate("document.querySelector('#text-samples-table').textContent")
