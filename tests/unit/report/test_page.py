"""The page as a file: whole, safe, and honest about what is missing."""

import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from selfloop.data.tidy import METRICS
from selfloop.domains.text.steps.write_samples import samples_table

from .conftest import CONFIG, measured, plan

HOSTILE = '<script>window.hit=1</script><img src=x onerror="window.hit=1">[a](javascript:hit) ![b](http://c) </script>'


class Elements(HTMLParser):
    """All start tags, and the content of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_asks_the_network_for_nothing(page: Callable[..., str]) -> None:
    elements = Elements(page(measured()))
    sources = [
        a.get("src") or a.get("href") or "" for t, a in elements.tags if t in ("script", "img", "link", "iframe")
    ]
    assert all(source.startswith("data:") for source in sources if source)
    policy = next(a["content"] or "" for a in elements.of("meta") if a.get("http-equiv"))
    assert "default-src 'none'" in policy


def test_what_cannot_be_measured_of_deleted_models_is_said(page: Callable[..., str]) -> None:
    chain = {"experiment": "plays", "domain": "text", "model": "GPT-2 (1M)", "sampling": "temperature=1.0", "seed": 0}
    rows = [
        {**chain, "regime": "replace", "iteration": t, "measure": name, "at": None, "value": 1.0, "real": 1.0}
        for t in (1, 2, 3, 4)
        for name in ("entropy", *(["bits_per_byte", "sampler_entropy"] if t in (1, 4) else []), *["kappa"][: t - 1])
    ]
    said = "deleted: bits_per_byte and sampler_entropy (GPT-2 (1M), iterations 2 and 3)."
    assert said in page(measured(), profile=pd.DataFrame(rows))
    assert "have been deleted" not in page(measured(), profile=pd.DataFrame(rows[:3]))


def test_every_part_of_a_domain_is_there(page: Callable[..., str]) -> None:
    html = page(measured())
    for said in (
        "Does the loop collapse?",
        "Test cross-entropy",
        "worse, still rising",
        "no notable change",
        "Against the paper",
        "The rule",
    ):
        assert said in html
    assert len(re.findall(r"<tr><td>(Figs?\. [\d, ]+|Table \d)</td>", html)) == 12


def test_hostile_text_does_nothing(page: Callable[..., str], tmp_path: Path) -> None:
    """Sampled text, and names that a user gave."""
    study = plan({HOSTILE[:0] + "plays": CONFIG["experiments"]["plays"]})
    metrics = measured().assign(model=f"GPT {HOSTILE}")
    (tmp_path / "tables").mkdir()
    table = samples_table([(HOSTILE, "replace", HOSTILE, 1, 0, HOSTILE)])
    table.to_csv(tmp_path / "tables/text-samples.csv", index=False)
    harmless, hostile = Elements(page(measured(), study=study)), Elements(page(metrics, study=study))
    assert "text-samples-table" in page(metrics, study=study)
    for tag in ("script", "img"):
        assert len(hostile.of(tag)) == len(harmless.of(tag))
    assert not any("onerror" in attributes for _, attributes in hostile.tags)
    assert not any((a.get("href") or "").startswith(("javascript:", "http:")) for a in hostile.of("a"))


def test_the_chart_s_data_cannot_end_their_element(page: Callable[..., str]) -> None:
    html = page(measured().assign(model=HOSTILE))
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert HOSTILE in json.dumps(json.loads(data), ensure_ascii=False).replace('\\"', '"')


@pytest.mark.parametrize(("place", "above"), [(None, ".."), ("report", ".."), ("../sent here", "../{}"), (".", ".")])
def test_links_lead_from_where_the_page_lies_to_the_figures(
    page: Callable[..., str], tmp_path: Path, place: str | None, above: str
) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/text-headline.svg").write_text("<svg/>")
    folder = {} if place is None else {"folder": tmp_path / place}
    links = [link.get("href") or "" for link in Elements(page(measured(), **folder)).of("a")]
    assert f"{above.format(tmp_path.name)}/figures/text-headline.svg" in links


@pytest.mark.parametrize(
    ("within", "said"),
    [
        (2176.0, "19 real rows of 4,100,000 tokens, 99.95% of them beyond the context, not trained on"),
        (4_100_000.0, "19 real rows of 4,100,000 tokens, all within the context"),
    ],
)
def test_the_page_says_how_many_tokens_there_are_and_how_many_are_cut(
    page: Callable[..., str], within: float, said: str
) -> None:
    values = {"rows": 19.0, "tokens": 4_100_000.0, "tokens_within_context": within}
    counted = [measured({"replace": [value]}, (0,), metric=name, split="real") for name, value in values.items()]
    assert f'<p class="setting">plays: {said}.</p>' in page(pd.concat([measured(), *counted]))


def test_a_table_shows_its_first_rows_and_says_how_many_more_there_are(
    page: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "tables").mkdir()
    samples = [("GPT-2", "replace", "NA", t, 0, f"sample {t}\nNone") for t in range(1, 206)]
    samples_table(samples).to_csv(tmp_path / "tables/text-samples.csv", index=False)
    html = page(measured())
    assert "<td>GPT-2</td><td>replace</td><td>NA</td><td>200</td><td>0</td><td>sample 200 / None</td>" in html
    assert "sample 201" not in html
    assert "5 more rows are in the file." in html


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (pd.DataFrame(columns=METRICS.names), "Nothing has been measured yet."),
        (measured(seeds=[0]), "1 of 3 seeds that a word needs."),
        (measured({"replace": [4.0], "accumulate": [4.0]}), "One iteration:"),
        (measured({"replace": [4.0, 4.4]}), "One regime (replace):"),
        (measured({"replace": [4.0, math.nan, 5.0, math.inf]}), "is not finite and is left out"),
        (measured({"replace": [math.nan, math.nan]}), "No seed is finite up to iteration 2."),
        (measured().query("iteration < 3 or seed == 0"), "2 of 4 iterations; not yet 3, 4"),
    ],
)
def test_a_page_without_enough_says_so(page: Callable[..., str], metrics: pd.DataFrame, said: str) -> None:
    assert said in page(metrics, unfinished=True)


def test_the_same_results_give_the_same_page(page: Callable[..., str]) -> None:
    def numbered(html: str) -> str:  # a process that renders twice numbers its charts on
        return re.sub(r'"p\d+"', '"p"', html)

    assert numbered(page(measured())) == numbered(page(measured()))
