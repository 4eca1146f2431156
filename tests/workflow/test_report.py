"""The page of a study, and Snakemake's own report."""

import json
import re
import zipfile
from html import unescape
from pathlib import Path

import yaml

from selfloop.planning.rules import plan_study

from .conftest import Workflow

MOST = 5e6  # bytes


def test_the_page_shows_every_figure_and_table_that_the_rules_write(finished: Workflow) -> None:
    results = finished.folder / "results"
    shown = [path for kind in ("figures", "tables") for path in (results / kind).glob("[!.]*")]
    written = {str(path.relative_to(finished.folder)) for path in shown}
    study = plan_study(finished.study)
    profile = {f"results/tables/profile.{suffix}" for suffix in ("csv", "md")}  # the page shows it as a grid
    assert set(study.shows.files()) == written - profile
    page = results / "report/index.html"
    assert page.stat().st_size < MOST
    html = page.read_text(encoding="utf-8")
    assert "Which kind of collapse" in html
    for path in sorted(written):
        place = Path(path).stem + ("-table" if "/tables/" in path else "")
        assert path in profile or f'id="{place}"' in html
        assert f'href="../{Path(path).parent.name}/{Path(path).name}"' in html


def test_the_page_says_what_was_run(finished: Workflow) -> None:
    html = (finished.folder / "results/report/index.html").read_text(encoding="utf-8")
    rows = {name: int(jobs) for name, jobs in re.findall(r'<tr><td>(\w+)</td><td class="n">(\d+)</td>', html)}
    ran = [job.split()[0] for job in finished.first_run.jobs if not job.startswith("write_report")]
    assert rows == {rule: ran.count(rule) for rule in set(ran)}
    assert re.search(r"[\d,]+ tokens/s", html)
    config = yaml.safe_load(unescape(re.findall(r"with defaults</summary><pre>(.*?)</pre>", html, re.DOTALL)[0]))
    assert set(config["experiments"]) == {"tiny", "tiny-llama"}
    assert "Nothing: every chain of the study is measured" in html


def test_snakemake_s_own_report_has_figures_with_captions(copy: Workflow) -> None:
    copy.snakemake("--report", "report.zip")
    with zipfile.ZipFile(copy.folder / "report.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
        (main,) = (name for name in archive.namelist() if name.endswith("/report.html"))
        text = archive.read(main).decode("utf-8")
    assert {"text-headline.svg", "text-synthetic.png", "text-samples.csv", "index.html"} <= names
    assert "The measurement that answers whether the loop collapses" in text
    categories, _ = json.JSONDecoder().raw_decode(text.partition("categories = ")[2])
    assert set(categories) == {"text", "The page"}
    assert set(categories["text"]) == {"Figures", "Tables"}
    assert "results/figures/text-headline.svg" in categories["text"]["Figures"]
