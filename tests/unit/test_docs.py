"""What the pages of docs/ must name."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from selfloop.config.filters import Filter
from selfloop.data.profile import Measure
from selfloop.data.quantity import Quantity
from selfloop.data.regimes import BUILT_IN
from selfloop.domains.protocol import domain_names

ROOT = Path(__file__).parents[2]


def measured(held: object) -> Iterator[str]:
    """Names of the quantities and measures in a value."""
    if isinstance(held, Quantity | Measure):
        yield held.name if isinstance(held, Measure) else held.metric
    elif isinstance(held, Mapping):
        for inner in held.values():
            yield from measured(inner)
    elif isinstance(held, tuple | list):
        for inner in held:
            yield from measured(inner)


@pytest.mark.parametrize("domain", domain_names())
def test_every_metric_of_a_domain_is_explained(domain: str) -> None:
    module = import_module(f"selfloop.domains.{domain}.domain")
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    names = {*measured({**vars(module), **vars(type(module.DOMAIN))})}
    assert names
    short = {name for name in names if f"`{name}`" not in page and f"`_{name[-1]}`" not in page}
    assert {name for name in short if not name.startswith(("cov_r", "cov_p"))} == set()


def test_the_gallery_has_every_study_of_the_repository() -> None:
    page = (ROOT / "docs/gallery.md").read_text(encoding="utf-8")
    studies = {path.stem for path in (ROOT / "config").glob("*.yaml")} - {"resources"}
    assert {name for name in studies if f"`{name}`" not in page} == set()
    for picture in (ROOT / "docs/gallery").iterdir():
        assert f"**`{picture.stem}`**" in page and f"](gallery/{picture.name})" in page


def test_the_built_in_regimes_and_all_that_filters_score_by_are_explained() -> None:
    page = "".join((ROOT / name).read_text(encoding="utf-8") for name in ("docs/regimes.md", "config/README.md"))
    known = {*BUILT_IN, *get_args(Filter.model_fields["by"].annotation)}
    assert {name for name in known if f"`{name}`" not in page} == set()


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150
