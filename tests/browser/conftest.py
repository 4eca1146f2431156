"""A real browser, and pages of real studies. Without Chromium the tests fail; `make browser` says how to get it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..workflow.conftest import Workflow
from .chromium import Chromium, chromium

# All domains that show something of their own stand in one page, and nothing takes long.
STUDIES = ("tests/studies/tiny.yaml", "tests/studies/linear.yaml")


@pytest.fixture(scope="session")
def browser() -> Iterator[Chromium]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The tiny studies as one, finished."""
    workflow = Workflow.fresh(tmp_path_factory.mktemp("browser") / "study", STUDIES[0])
    other = Workflow(workflow.folder, STUDIES[1]).study["experiments"]
    workflow.change(lambda config: config["experiments"].update(other))
    workflow.snakemake()
    return workflow


@pytest.fixture(scope="session")
def page(study: Workflow) -> Path:
    return study.folder / "results/report/index.html"
