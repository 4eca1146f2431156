"""The page itself: one self-contained HTML file that needs no network."""

import base64
import importlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from selfloop.analysis.read import regimes_in_order, select
from selfloop.analysis.table import Table, read_table
from selfloop.data.quantity import Quantity
from selfloop.jobs.steps import step_module
from selfloop.numbers import duration, measured
from selfloop.paper.claims import claims
from selfloop.paper.evidence import Check, Evidence
from selfloop.paper.published import PAPER, SAME_SETTING
from selfloop.report import charts, step_times
from selfloop.report.content import (
    Gap,
    Judged,
    Line,
    Row,
    answer,
    cannot_say,
    first_table,
    gaps,
    interval,
    judged,
    lines,
    percent,
    share,
)
from selfloop.report.filters import FILTER_RULE, Filtered, filtered
from selfloop.report.phenomena import PHENOMENA
from selfloop.report.phenomena import RULE as PHENOMENA_RULE
from selfloop.report.places import ASSETS, CAPTIONS
from selfloop.report.profile import Profiled, profiled, remarks, sentence, size_of, unmeasured
from selfloop.report.study import Domain, Experiment, Shown, Study
from selfloop.report.summary import summary
from selfloop.report.verdicts import DEFINITION, RULE
from selfloop.versions import versions

PLAIN = " !$()*+,-./:;=?@[]^_{|}~'"  # need no percent-encoding in a data URL, besides letters and digits
LARGEST_SVG = 400_000  # bytes; of a larger figure the page shows the PNG
MOST_SIMULATED = 12  # rows of a domain's simulations in the first table
LARGEST_TABLE = 200  # rows shown of a table; its file has all


@dataclass(frozen=True)
class Sources:
    """What the page is made from.

    Attributes:
        study: what the page is about.
        metrics, curves, profile: the tidy tables, as far as they exist.
        results: the folder with figures, tables and logs.
        drawn: a folder of figures and tables made for this page alone, which are preferred.
        unfinished: whether the study is unfinished, so that figures in `results` may be older than its measurements.
        not_simulated: the simulations that are still missing.
        folder: where the page will lie.
    """

    study: Study
    metrics: pd.DataFrame
    curves: pd.DataFrame
    profile: pd.DataFrame
    results: Path
    drawn: Path | None = None
    unfinished: bool = False
    not_simulated: Sequence[Gap] = ()
    folder: Path | None = None

    @property
    def url(self) -> str:
        """Where the page's links find the folder of the results."""
        above = ".." if self.folder is None else os.path.relpath(self.results, self.folder)
        return quote(Path(above).as_posix())

    def file(self, kind: str, name: str, suffix: str) -> Path | None:
        """The file of a figure or table, preferably drawn for this page."""
        folders = [*([] if self.drawn is None else [self.drawn]), self.results / kind]
        return next((path for folder in folders if (path := folder / f"{name}{suffix}").is_file()), None)

    def linked(self, kind: str, name: str, *suffixes: str) -> list[str]:
        """The files of that name among the results, to be linked."""
        return [f"{name}{suffix}" for suffix in suffixes if (self.results / kind / f"{name}{suffix}").is_file()]


@dataclass(frozen=True)
class Part:
    """One quantity of a domain: its words and its chart.

    Attributes:
        lines: the effects, and with them the words.
        limits: what the words cannot say.
        json: the chart; its texts cannot end the script element that holds them.
    """

    id: str
    quantity: Quantity
    simulated: bool
    lines: list[Judged]
    limits: list[str]
    chart: charts.Chart
    json: Markup


@dataclass(frozen=True)
class Exhibit:
    """A figure or a table.

    Attributes:
        name, caption: for readers.
        files: the linked files.
        fresh: whether it was drawn for this page alone.
        old: whether it may lack newer measurements.
        source: a figure's data URL.
        table: a table's contents.
    """

    name: str
    caption: str
    files: list[str]
    fresh: bool
    old: bool
    source: str = ""
    table: Table | None = None


@dataclass(frozen=True)
class Section:
    """A domain's part of the page.

    Attributes:
        setting: of its experiments, in one line.
        tokens: how many there are to train on, in one line; empty where that is not counted.
        parts: what it measures.
        grid: what is decided of the phenomena.
        filters: what its filters do.
        sentence: what its samples do.
        remarks: on its measures of the profile.
        unmeasured: what is measured of first models alone, a text per model.
        limits: what the words cannot say.
    """

    name: str
    title: str
    setting: str
    tokens: str
    parts: list[Part]
    grid: list[Profiled]
    filters: list[Filtered]
    sentence: str
    remarks: list[str]
    unmeasured: list[str]
    limits: list[str]
    figures: list[Exhibit]
    tables: list[Exhibit]


@dataclass(frozen=True)
class Page:
    """The page of a study.

    Attributes:
        html: one self-contained file; all text from configs, models and logs is escaped.
        summary: its first table as text for a terminal.
    """

    html: str
    summary: str


def render(sources: Sources) -> Page:
    """The page of a study."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"measured": measured, "duration": duration, "share": share, "interval": interval}
    environment.filters |= {"percent": percent, "effect": effect_text, "size_of": size_of}
    parts = _parts(sources)
    rows = [row for domain in sources.study.domains for row in _rows(domain, parts[domain.name])]
    said = answer([row for row in rows if not row.simulated] or rows)
    html = environment.get_template("page.html").render(_context(sources, parts), rows=rows, answer=said)
    return Page(html, summary(rows, said))


def effect_text(check: Check) -> str:
    """The effect of a check and its interval."""
    of = check.estimate

    def text(value: float) -> str:
        if check.unit in ("E", "share"):
            return share(value)
        return measured(value, signed=check.unit != "ratio")

    unit = "" if check.unit in ("E", "share", "ratio") else f" {check.unit}"
    ends = "" if of.low != of.low or of.low == of.high else f" ({text(of.low)} to {text(of.high)})"
    return f"{text(of.value)}{unit}{ends}"


def _regimes(sources: Sources) -> list[str]:
    asked = (regime for entry in sources.study.experiments.values() for regime in entry.regimes)
    return regimes_in_order({*sources.metrics["regime"], *asked})


def _context(sources: Sources, parts: Mapping[str, list[Part]]) -> dict[str, object]:
    study, metrics, regimes = sources.study, sources.metrics, _regimes(sources)
    profiles = profiled(metrics, sources.profile, study.domains)
    measured_lines = [line for own in parts.values() for part in own if not part.simulated for line in part.lines]
    filters = filtered(measured_lines, metrics, sources.profile, study.domains)
    domains = [_domain(sources, domain, parts[domain.name], profiles, filters) for domain in study.domains]
    shown = [exhibit.name for domain in domains for exhibit in (*domain.figures, *domain.tables)]
    asked = [name for d in study.domains for each in d.shown for name in (*each.figures, *each.tables)]
    evidence = Evidence(
        metrics,
        sources.curves,
        study.headlines,
        {domain.name: domain.setting for domain in domains},
        {domain.name: [*domain.synthetic, *domain.others] for domain in study.domains},
        {
            (name, title): sampling
            for domain in study.domains
            for name, titles in domain.samplings.items()
            for title, sampling in zip(titles, study.experiments[name].sampling, strict=True)
        },
        shown,
        {
            (name, line.series): line.verdict.reason
            for name, own in parts.items()
            for part in own
            for line in part.lines
            if line.inadequate
        },
    )
    logs, provenance = sources.results / "logs", step_times.provenance(sources.results / "provenance.json")
    return {
        "domains": domains,
        "regimes": [name for name in regimes if name not in study.controls],
        "controls": [name for name in regimes if name in study.controls],
        "definition": DEFINITION,
        "claims": claims(evidence),
        "paper": PAPER,
        "same_setting": SAME_SETTING if any(domain.published for domain in study.domains) else "",
        "rule": (*RULE, *PHENOMENA_RULE, *([FILTER_RULE] if filters else [])),
        "gaps": [*gaps(study.experiments, metrics, study.headlines), *sources.not_simulated],
        "not_drawn": [name for name in dict.fromkeys(asked) if name not in shown],
        "unfinished": sources.unfinished,
        "results": sources.url,
        "failures": step_times.failures(logs),
        "times": step_times.step_times(logs),
        "versions": versions() | {"machine": f"{platform.system()} {platform.machine()}"},
        "provenance": "" if provenance is None else json.dumps(provenance, indent=2, ensure_ascii=False),
        "config": yaml.safe_dump(json.loads(json.dumps(study.config)), sort_keys=False, width=100),
        "library": Markup(_in_script(charts.library())),  # a dependency's code, not user input
        "script": Markup((ASSETS / "page.js").read_text(encoding="utf-8")),
        "style": Markup((ASSETS / "page.css").read_text(encoding="utf-8")),
        "largest_table": LARGEST_TABLE,
        "profile_files": sources.linked("tables", "profile", ".csv", ".md"),
        "phenomena": PHENOMENA,
        "figure_names": {figure.name for domain in domains for figure in domain.figures},
    }


def _parts(sources: Sources) -> dict[str, list[Part]]:
    """By domain, what it measures; the words of all loops are corrected together, and those of all simulations."""
    domains, regimes = sources.study.domains, _regimes(sources)
    found: dict[str, list[Part]] = {domain.name: [] for domain in domains}
    entries = sources.study.experiments
    by_epochs = [name for name, entry in entries.items() if entry.training.get("epochs") is not None]
    for simulated in (False, True):
        effects: list[tuple[Domain, Quantity, list[Line]]] = []
        for domain in domains:
            quantity = domain.headline.simulated if simulated else domain.headline
            own = lines(sources.metrics, domain.name, quantity, () if simulated else domain.adequate)
            effects += [(domain, quantity, own)] if own else []
        words = iter(judged([line for _, _, own in effects for line in own]))
        for domain, quantity, own in effects:
            name, said = domain.name, [next(words) for _ in own]
            rows = select(sources.metrics, name, quantity)
            curves = select(sources.curves, name, quantity)
            chart = charts.headline_chart(rows, regimes, [] if simulated else domain.published)
            unsaid, item = cannot_say(said, curves, quantity, by_epochs), Markup(_json(chart.item))
            found[name].append(Part(f"{name}-{quantity.split}", quantity, simulated, said, unsaid, chart, item))
    return found


def _rows(domain: Domain, parts: Sequence[Part]) -> list[Row]:
    """A domain's rows of the first table."""
    rows = []
    for part in parts:
        own = first_table(domain.title, domain.name, part.lines, part.simulated)
        rows += own[:MOST_SIMULATED] if part.simulated else own
    return rows


def _domain(
    sources: Sources,
    domain: Domain,
    parts: list[Part],
    profiles: Sequence[Profiled],
    filters: Sequence[Filtered],
) -> Section:
    """One domain's part of the page."""
    grid = [of for of in profiles if of.domain == domain.name]
    spec = domain.profile if grid else None
    return Section(
        name=domain.name,
        title=domain.title,
        setting=_setting(sources.study.experiments, domain),
        tokens=_tokens(sources.metrics, domain.name),
        parts=parts,
        grid=grid,
        filters=[of for of in filters if any(of.line is line for part in parts for line in part.lines)],
        sentence=sentence(grid, spec) if spec else "",
        remarks=remarks(sources.profile, domain.name, spec) if spec else [],
        unmeasured=unmeasured(sources.profile, domain.name, spec) if spec else [],
        limits=list(dict.fromkeys(text for part in parts if not part.simulated for text in part.limits)),
        figures=[figure for shown in domain.shown for figure in _figures(sources, shown)],
        tables=[table for shown in domain.shown for table in _tables(sources, domain, shown)],
    )


def _figures(sources: Sources, shown: Shown) -> Iterator[Exhibit]:
    for name in shown.figures:
        vector, pixels = (sources.file("figures", name, suffix) for suffix in (".svg", ".png"))
        is_small = vector is not None and (vector.stat().st_size <= LARGEST_SVG or pixels is None)
        path = vector if is_small else pixels
        if path is not None:
            files = sources.linked("figures", name, ".svg", ".png")
            yield Exhibit(name, caption(shown.caption), files, *_age(sources, path), source=data_address(path))


def _tables(sources: Sources, domain: Domain, shown: Shown) -> Iterator[Exhibit]:
    for name in shown.tables:
        path = sources.file("tables", name, ".csv")
        if path is not None:
            readable = importlib.import_module(step_module(shown.rule, domain.name)).READABLE
            table = readable[name.removeprefix(f"{domain.name}-")](read_table(path), domain.headline)
            files = sources.linked("tables", name, ".csv", ".md")
            yield Exhibit(name, caption(shown.caption), files, *_age(sources, path), table=table)


def _age(sources: Sources, path: Path) -> tuple[bool, bool]:
    """Whether a file was drawn for this page, and whether it may lack newer measurements."""
    fresh = sources.drawn is not None and path.is_relative_to(sources.drawn)
    return fresh, sources.unfinished and not fresh


def caption(file: str) -> str:
    """A caption as plain text; the parts in double braces are Snakemake's."""
    text = (CAPTIONS / file).read_text(encoding="utf-8")
    return " ".join(re.sub(r"\{\{.*?\}\}", "", text).replace("``", "").split())


def _setting(experiments: Mapping[str, Experiment], domain: Domain) -> str:
    """The setting of a domain's experiments, in one line."""
    same: dict[str, list[str]] = {}
    for name, entry in experiments.items():
        if entry.domain == domain.name:
            data = ", ".join(
                str(value) if isinstance(value, str) else f"{key.replace('_', ' ')} {value}"
                for key, value in entry.data.items()
                if value is not None and key in domain.described
            )
            asked = entry.iterations
            iterations = asked if isinstance(asked, int) else f"{min(asked.values())} to {max(asked.values())}"
            seeds = len(entry.seeds)
            words = f"{data}; {iterations} iterations, {seeds} {'seed' if seeds == 1 else 'seeds'}"
            same.setdefault(words, []).append(name)
    return "; ".join(f"{', '.join(names)}: {words}" for words, names in same.items())


def _tokens(metrics: pd.DataFrame, domain: str) -> str:
    """How many tokens the experiments of a domain have to train on, in one line; empty where that is not counted."""
    rows = metrics[(metrics["domain"] == domain) & (metrics["split"] == "real")]
    found: dict[str, list[str]] = {}
    for name, own in rows.groupby("experiment", sort=False):
        value = own.groupby("metric", sort=False)["value"].mean()
        if {"tokens", "tokens_within_context"} <= set(value.index):
            cut = 1 - value["tokens_within_context"] / value["tokens"]
            beyond = "all within the context" if not cut else f"{cut:.2%} of them beyond the context, not trained on"
            words = f"{value['rows']:,.0f} real rows of {value['tokens']:,.0f} tokens, {beyond}"
            found.setdefault(words, []).append(str(name))
    return "; ".join(f"{', '.join(names)}: {words}" for words, names in found.items())


def _json(value: object) -> str:
    """JSON for a script element: nothing in it can end the element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _in_script(code: str) -> str:
    """Code for a script element. A closing tag in one of its texts would end the element."""
    return re.sub(r"</(script)", r"<\\/\1", code, flags=re.IGNORECASE)


def data_address(path: Path) -> str:
    """A figure's file as a data URL: an SVG percent-encoded, since base64 would make it a third larger."""
    if path.suffix == ".svg":
        # A URL holds no line breaks; in XML, a space does as well.
        text = path.read_text(encoding="utf-8").replace("\r", "").replace("\n", " ")
        return f"data:image/svg+xml,{quote(text, safe=PLAIN)}"
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
