"""The page itself: everything that is there, as one HTML file that needs no network."""

import base64
import importlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup

from selfloop.analysis.read import regimes_in_order
from selfloop.analysis.table import read_table
from selfloop.data.quantity import Quantity
from selfloop.jobs.steps import step_module
from selfloop.paper.claims import claims
from selfloop.paper.evidence import Study
from selfloop.paper.published import PAPER, SAME_SETTING
from selfloop.report import charts, step_times
from selfloop.report.content import (
    DASH,
    Gap,
    Line,
    answer,
    cannot_say,
    gaps,
    lines,
    number,
    rows_of,
    simulated,
)
from selfloop.report.places import ASSETS, CAPTIONS
from selfloop.report.verdicts import RULE
from selfloop.versions import versions

PLAIN = " !$()*+,-./:;=?@[]^_{|}~'"  # what an SVG's address may hold as it is, besides letters and digits

LARGEST_SVG = 400_000  # bytes; of a larger figure the page shows the PNG
LARGEST_TABLE = 200  # rows shown of a table; its file has all


@dataclass(frozen=True)
class Sources:
    """Where the page's parts come from.

    Attributes:
        spec: what `selfloop.planning.shown.Showing.report` says of the study.
        metrics, curves: the tidy tables, or as much of them as there is.
        results: the folder with figures, tables and logs.
        drawn: figures and tables that were made for this page alone, by file name; they are preferred.
        unfinished: whether the study is not finished, so that figures in `results` may be older than its measurements.
        not_simulated: what it asks for besides chains, and has not got yet.
    """

    spec: Mapping[str, Any]
    metrics: pd.DataFrame
    curves: pd.DataFrame
    results: Path
    drawn: Path | None = None
    unfinished: bool = False
    not_simulated: Sequence[Gap] = ()


def render(sources: Sources) -> str:
    """The page as HTML. All text from configs, models and logs is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(_context(sources))


def _context(sources: Sources) -> dict[str, Any]:
    spec, metrics = sources.spec, sources.metrics
    headlines = {domain["name"]: Quantity(**domain["headline"]) for domain in spec["domains"]}
    regimes = regimes_in_order({*metrics["regime"], *(r for e in spec["experiments"].values() for r in e["regimes"])})
    domains = [_domain(sources, domain, regimes) for domain in spec["domains"]]
    files = {name: _shows(sources, name) for domain in spec["domains"] for name in _names(domain)}
    study = Study(
        metrics,
        sources.curves,
        headlines,
        {domain["name"]: _setting(spec["experiments"], domain) for domain in spec["domains"]},
        {domain["name"]: [Quantity(**each) for each in domain["synthetic"]] for domain in spec["domains"]},
        [name for name, there in files.items() if there],
    )
    times = step_times.step_times(sources.results / "logs")
    return {
        "domains": domains,
        "claims": claims(study),
        "paper": PAPER,
        "same_setting": SAME_SETTING if any(domain["published"] for domain in spec["domains"]) else "",
        "rule": RULE,
        "gaps": [*gaps(spec["experiments"], metrics, headlines), *sources.not_simulated],
        "not_drawn": [name for name, there in files.items() if not there],
        "unfinished": sources.unfinished,
        "failures": step_times.failures(sources.results / "logs"),
        "times": [_times(rule, each) for rule, each in times.items()],
        "total": duration(sum(sum(each.work) for each in times.values())),
        "jobs": sum(len(each.work) for each in times.values()),
        "versions": {**versions(), "machine": f"{platform.system()} {platform.machine()}"},
        "provenance": _pretty(step_times.provenance(sources.results / "provenance.json")),
        "config": yaml.safe_dump(json.loads(json.dumps(dict(spec["config"]))), sort_keys=False, width=100),
        "library": Markup(_in_script(charts.library())),  # our dependency's, not anybody's input
        "script": Markup(_asset("page.js")),
        "style": Markup(_asset("page.css")),
        "number": number,
        "largest_table": LARGEST_TABLE,
        "figure_names": {figure["name"] for domain in domains for figure in domain["figures"]},
    }


def _names(domain: Mapping[str, Any]) -> list[str]:
    return [name for shown in domain["shown"] for kind in ("figures", "tables") for name in shown[kind]]


def _shows(sources: Sources, name: str) -> bool:
    return _figure_file(sources, name) is not None or _table_file(sources, name) is not None


def _domain(sources: Sources, domain: Mapping[str, Any], regimes: list[str]) -> dict[str, Any]:
    """One domain's part of the page."""
    name, headline = domain["name"], Quantity(**domain["headline"])
    parts = []
    for quantity in (headline, simulated(headline)):
        rows = rows_of(sources.metrics, name, quantity)
        if rows.empty:
            continue
        found = lines(rows, quantity)
        parts.append(
            {
                "id": f"{name}-{quantity.split}",
                "quantity": quantity,
                "answer": answer(found, quantity),
                "lines": [_shown_line(line) for line in found],
                "limits": cannot_say(found, quantity),
                **_chart(rows, regimes, domain["published"] if quantity is headline else []),
            }
        )
    return {
        "name": name,
        "title": domain["title"],
        "setting": _setting(sources.spec["experiments"], domain),
        "parts": parts,
        "answer": _best(parts),
        "figures": [each for shown in domain["shown"] for each in _figures(sources, shown)],
        "tables": [each for shown in domain["shown"] for each in _tables(sources, name, shown, headline)],
    }


def _best(parts: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The part that answers the question: the loop, unless just its simulation has seeds enough for a verdict."""
    told = [part for part in parts if any(line["word"] != "not said" for line in part["lines"])]
    return next(iter(told or parts), None)


def _shown_line(line: Line) -> dict[str, Any]:
    moved = line.trend
    interval = f"{number(moved.low, True)} to {number(moved.high, True)}" if moved.low == moved.low else DASH
    return {
        "series": line.series,
        "regime": line.regime,
        "seeds": moved.seeds,
        "iterations": moved.iterations,
        "first": number(moved.first),
        "last": number(moved.last),
        "slope": number(moved.slope, True),
        "interval": interval,
        "word": line.verdict.word,
        "reason": line.verdict.reason,
    }


def _chart(rows: pd.DataFrame, regimes: list[str], paper: list[dict[str, Any]]) -> dict[str, Any]:
    series = list(dict.fromkeys(rows["series"]))
    shown = rows[rows["series"].isin(series[: charts.MOST_SERIES])]
    known = rows[["experiment", "sampling", "series"]].drop_duplicates()
    places = {(e, s): name for e, s, name in known.itertuples(index=False)}
    values = [
        {**value, "series": places[value["experiment"], value["sampling"]]}
        for value in paper
        if (value["experiment"], value["sampling"]) in places
    ]
    drawn = charts.headline_chart(shown, regimes, values)
    return {
        "chart": drawn,
        "json": Markup(_json(drawn["item"])),  # its texts cannot end the script element that holds them
        "left_out": max(0, len(series) - charts.MOST_SERIES),
        "published": bool(values),
    }


def _figures(sources: Sources, shown: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name in shown["figures"]:
        path = _figure_file(sources, name)
        if path is not None:
            files = [f"{name}{suffix}" for suffix in (".svg", ".png")]
            found.append(
                {
                    "name": name,
                    "caption": caption(shown["caption"]),
                    "source": data_address(path),
                    "files": [file for file in files if (sources.results / "figures" / file).is_file()],
                    "fresh": sources.drawn is not None and path.is_relative_to(sources.drawn),
                    "old": sources.unfinished and path.is_relative_to(sources.results),
                }
            )
    return found


def _figure_file(sources: Sources, name: str) -> Path | None:
    folders = [*([] if sources.drawn is None else [sources.drawn]), sources.results / "figures"]
    for folder in folders:
        vector, pixels = folder / f"{name}.svg", folder / f"{name}.png"
        if vector.is_file() and (vector.stat().st_size <= LARGEST_SVG or not pixels.is_file()):
            return vector
        if pixels.is_file():
            return pixels
    return None


def _tables(sources: Sources, domain: str, shown: Mapping[str, Any], headline: Quantity) -> list[dict[str, Any]]:
    found = []
    for name in shown["tables"]:
        path = _table_file(sources, name)
        if path is not None:
            readable = importlib.import_module(step_module(shown["rule"], domain)).READABLE
            files = [f"{name}{suffix}" for suffix in (".csv", ".md")]
            found.append(
                {
                    "name": name,
                    "caption": caption(shown["caption"]),
                    "table": readable[name.removeprefix(f"{domain}-")](read_table(path), headline),
                    "files": [file for file in files if (sources.results / "tables" / file).is_file()],
                    "old": sources.unfinished and path.is_relative_to(sources.results),
                }
            )
    return found


def _table_file(sources: Sources, name: str) -> Path | None:
    folders = [*([] if sources.drawn is None else [sources.drawn]), sources.results / "tables"]
    return next((path for folder in folders if (path := folder / f"{name}.csv").is_file()), None)


def caption(name: str) -> str:
    """A caption as plain text; the parts in double braces are Snakemake's."""
    text = (CAPTIONS / name).read_text(encoding="utf-8")
    return " ".join(re.sub(r"\{\{.*?\}\}", "", text).replace("``", "").split())


def _setting(experiments: Mapping[str, Any], domain: Mapping[str, Any]) -> str:
    """With what a domain was run, in a line."""
    same: dict[str, list[str]] = {}
    for name, entry in experiments.items():
        if entry["domain"] != domain["name"]:
            continue
        data = ", ".join(
            str(value) if key in ("source", "name") else f"{key.replace('_', ' ')} {value}"
            for key, value in entry["data"].items()
            if value is not None and key in domain["described"]
        )
        iterations = entry["iterations"]
        counted = (
            iterations if isinstance(iterations, int) else f"{min(iterations.values())} to {max(iterations.values())}"
        )
        seeds = len(entry["seeds"])
        words = f"{data}; {counted} iterations, {seeds} {'seed' if seeds == 1 else 'seeds'}"
        same.setdefault(words, []).append(name)
    return "; ".join(f"{', '.join(names)}: {words}" for words, names in same.items())


def _times(rule: str, times: step_times.StepTimes) -> dict[str, Any]:
    work = sorted(times.work)
    return {
        "rule": rule,
        "jobs": len(work),
        "total": duration(sum(work)),
        "median": duration(work[len(work) // 2]),
        "longest": duration(work[-1]),
        "start_up": duration(sum(times.start_up)),
        "throughput": ", ".join(f"{rate:,.0f} {unit}/s" for unit, rate in times.throughput()),
    }


def duration(seconds: float) -> str:
    """Seconds as a reader wants them: 0.42 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 0.01 else "0 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _pretty(value: Any) -> str:
    return "" if value is None else json.dumps(value, indent=2, ensure_ascii=False)


def _json(value: Any) -> str:
    """JSON for a script element: nothing in it can end the element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _in_script(code: str) -> str:
    """Code for a script element. A closing tag in one of its texts would end the element."""
    return re.sub(r"</(script)", r"<\\/\1", code, flags=re.IGNORECASE)


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def data_address(path: Path) -> str:
    """A figure's file as an address that holds it.

    An SVG is text, of which few characters need three in an address; base64 would make it larger by a third.
    """
    if path.suffix == ".svg":
        # An address may hold no line ends. Between words of XML a space does as well.
        text = path.read_text(encoding="utf-8").replace("\r", "").replace("\n", " ")
        return f"data:image/svg+xml,{quote(text, safe=PLAIN)}"
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
