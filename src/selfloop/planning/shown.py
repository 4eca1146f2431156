"""What a study shows: one list of figures and tables, with what each is drawn from.

The rules of analysis.smk, the titles that the config may give, the page and `prune` follow from this list. Light.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

from selfloop.config import models
from selfloop.domains.protocol import Analysis, AnyDomain
from selfloop.identity import digest
from selfloop.jobs.marks import MARKS
from selfloop.paper.published import comparisons, published
from selfloop.planning import paths
from selfloop.planning import study as studies
from selfloop.planning.analyses import curations, laws, profiles, shared
from selfloop.planning.check import Checked
from selfloop.report.places import ASSETS, CAPTIONS

ARTIFACT_PATHS = frozenset({"checkpoint", "part", "train", "test"})  # what an `Analysis` may read besides tidy tables
TIDY = {"metrics": paths.METRICS, "learning_curves": paths.LEARNING_CURVES, "profile": paths.PROFILE}
Kind = Literal["figures", "tables"]


class Wildcards(Protocol):
    """A job's wildcards, as Snakemake gives them."""

    def __getattr__(self, name: str) -> str: ...
    def get(self, name: str, otherwise: str) -> str: ...
    def keys(self) -> Iterable[str]: ...


@dataclass(frozen=True)
class Shown:
    """What one rule shows of one domain.

    Attributes:
        rule: its name.
        domain: the domain.
        analysis: what is drawn.
        artifacts: those that the analysis reads, without the paths that it does not read.
        titles: the titles of its figures, by name.
        code: digest of the code of its step, and of all that it shows.
        tables: digest of the tidy tables that it is drawn from, or an empty string.
    """

    rule: str
    domain: AnyDomain
    analysis: Analysis
    artifacts: list[dict[str, object]]
    titles: dict[str, str]
    code: str
    tables: str = ""

    @property
    def tidy(self) -> str | None:
        """The tidy table that it is drawn from, or None."""
        return next((name for name in TIDY if name in self.analysis.reads), None)

    @property
    def artifact_files(self) -> list[str]:
        """The paths of its artifacts, each once."""
        return list(dict.fromkeys(str(row[key]) for row in self.artifacts for key in row if key in ARTIFACT_PATHS))

    @property
    def params(self) -> dict[str, object]:
        """The params of its step, as JSON values."""
        asked = {"headline": asdict(self.domain.headline), "asked": self.analysis.asked, "artifacts": self.artifacts}
        return {"domain": self.domain.name, **asked, "titles": self.titles, "code": self.code}

    @property
    def caption(self) -> str:
        """The file of its caption, below CAPTIONS."""
        names = (f"{self.rule}.rst", f"{self.analysis.step}.rst", "own_analysis.rst")
        return next(name for name in names if (CAPTIONS / name).is_file())

    def names(self, kind: Kind) -> list[str]:
        """Names of its figures or tables, with the domain's in front."""
        return [Path(file).stem for file in self.files(kind, "any")]

    def files(self, kind: Kind, *formats: str, domain: str = "") -> list[str]:
        """Its figures or tables in each format; `domain` is a wildcard in place of the domain's name."""
        path = paths.figure if kind == "figures" else paths.table
        names: tuple[str, ...] = getattr(self.analysis, kind)
        return [path(domain or self.domain.name, name, form) for name in names for form in formats]


@dataclass(frozen=True)
class Rule:
    """A rule of analysis.smk: of one domain, or of several by the wildcard `domain`."""

    name: str
    by_domain: Mapping[str, Shown]
    tables_mark: str

    @property
    def first(self) -> Shown:
        """What it shows of the first of its domains."""
        return next(iter(self.by_domain.values()))

    @property
    def identity(self) -> str:
        """Digest of what it shows of the study, in all its domains."""
        return digest([[entry.params, entry.tables] for entry in self.by_domain.values()])

    def mark(self, domain: str = "") -> str:
        """The mark of what it shows; `domain` is the domain's name, in place of the wildcard."""
        return paths.mark(f"{self.name}-{domain or self.domain}", self.identity)

    @property
    def marks(self) -> list[str]:
        """Its marks, one for each of its domains."""
        return [self.mark(domain) for domain in self.by_domain]

    @property
    def domain(self) -> str:
        """The domain's name, or the wildcard."""
        return "{domain}" if self.name == self.first.analysis.step else self.first.domain.name

    @property
    def log(self) -> str:
        """Its log file."""
        return paths.log(self.first.analysis.step, self.domain)

    @property
    def tidy(self) -> dict[str, str]:
        """The tidy table among its inputs, by name, with the mark of all of them."""
        found = {name: file for name, file in TIDY.items() if name == self.first.tidy}
        return {**found, MARKS: self.tables_mark} if found else {}

    def files(self, kind: Kind, *formats: str) -> list[str]:
        """Its figures or tables in each format."""
        return self.first.files(kind, *formats, domain=self.domain)

    def artifacts(self, wildcards: Wildcards) -> list[str]:
        """Inputs of a job besides the tidy table."""
        return self._of(wildcards).artifact_files

    def settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job."""
        return self._of(wildcards).params

    def _of(self, wildcards: Wildcards) -> Shown:
        return self.by_domain[wildcards.get("domain", self.domain)]


@dataclass(frozen=True)
class Showing:
    """What a study shows.

    Attributes:
        study, checked: the study, and its checked config.
        sampled_code, measured_code: digests of the code of a step that shows models and samples, and of one that shows
            measurements.
    """

    study: studies.Study
    checked: Checked
    sampled_code: Callable[[str, AnyDomain], str]
    measured_code: Callable[[str, AnyDomain | None], str]

    @cached_property
    def tables(self) -> str:
        """Digest of what the tidy tables hold."""
        return digest([self.study.rows(), self.study.simulation_rows(), self.measured_code("collect_metrics", None)])

    @property
    def tables_mark(self) -> str:
        """The mark of the tidy tables."""
        return paths.mark("collect_metrics", self.tables)

    @cached_property
    def page_mark(self) -> str:
        """The mark of the page."""
        code = self.measured_code("write_report", None)
        return paths.mark("write_report", digest([self.report(), looks(), code, self.marks]))

    @cached_property
    def profile_mark(self) -> str:
        """The mark of the table of the phenomena."""
        code = self.measured_code("write_profile", None)
        return paths.mark("write_profile", digest([self.profiled(), code, self.tables]))

    @property
    def marks(self) -> list[str]:
        """The marks of the tidy tables, and of all figures and tables."""
        return [self.tables_mark, self.profile_mark, *(mark for rule in self.rules for mark in rule.marks)]

    @cached_property
    def entries(self) -> list[Shown]:
        """Everything that is shown, by domain and in the page's order."""
        return [entry for domain in self.study.domains for entry in self._of(domain)]

    def of(self, domain: AnyDomain) -> list[Shown]:
        """What is shown of one domain."""
        return [entry for entry in self.entries if entry.domain is domain]

    @cached_property
    def rules(self) -> list[Rule]:
        """The rules that show it all."""
        found: dict[str, dict[str, Shown]] = {}
        for entry in self.entries:
            found.setdefault(entry.rule, {})[entry.domain.name] = entry
        return [Rule(name, by_domain, self.tables_mark) for name, by_domain in found.items()]

    @property
    def formats(self) -> list[str]:
        """File formats of the figures."""
        return list(self.checked.study.figures.formats)

    def files(self, tidy: bool | None = None) -> list[str]:
        """The figures and tables: all, those drawn from the tidy tables, or those that show artifacts as they are."""
        entries = [entry for entry in self.entries if tidy is None or (entry.tidy is not None) == tidy]
        figures = [file for entry in entries for file in entry.files("figures", *self.formats)]
        return figures + [file for entry in entries for file in entry.files("tables", "csv", "md")]

    @property
    def kept(self) -> list[str]:
        """The figures and tables, and the artifacts that they show as they are."""
        return list(dict.fromkeys([*(file for each in self.entries for file in each.artifact_files), *self.files()]))

    @property
    def titled(self) -> list[str]:
        """The keys that `figures.titles` may have."""
        keys = (_title_key(each.domain, each.analysis, name) for each in self.entries for name in each.titles)
        return list(dict.fromkeys(keys))

    def profiled(self) -> list[dict[str, object]]:
        """What the phenomena of collapse are decided by in each domain, as JSON values."""
        return profiled_domains(self.study.domains)

    def report(self) -> dict[str, object]:
        """What the study's page is about, as JSON values; nothing about how the study is run."""
        config = {key: self.checked.plain[key] for key in ("experiments", "regimes")}
        domains = [
            {
                "name": domain.name,
                "title": domain.title,
                "described": domain.described,
                "headline": asdict(domain.headline),
                "synthetic": [asdict(quantity) for quantity in domain.synthetic],
                "others": [asdict(quantity) for quantity in domain.others],
                "adequate": [asdict(limit) for limit in domain.adequate],
                "profile": None if domain.profile is None else asdict(domain.profile),
                "samplings": domain.sampling_titles(self._own(domain)),
                "published": published(domain, self._own(domain)),
                "shown": [
                    {"rule": e.rule, "caption": e.caption, "figures": e.names("figures"), "tables": e.names("tables")}
                    for e in self.of(domain)
                ],
            }
            for domain in self.study.domains
        ]
        controls = sorted({each.name for e in self.study.experiments for each in e.regimes if each.control})
        return {"domains": domains, "experiments": config["experiments"], "controls": controls, "config": config}

    def artifacts(self, domain: AnyDomain) -> list[dict[str, object]]:
        """Of every chain of a domain and every iteration: where its model, its part 0 and its real data lie."""
        return [
            {
                "experiment": chain.experiment.name,
                "model": domain.model_title(chain.experiment.model),
                "regime": chain.regime,
                "sampling": domain.sampling_title(chain.sampling),
                "seed": chain.seed,
                "iteration": model.iteration,
                "checkpoint": paths.checkpoint(model.name),
                "part": parts[0].folder,
                "train": model.real("train"),
                "test": model.real("test"),
            }
            for chain in self.study.chains
            if chain.experiment.domain.name == domain.name
            for model, parts in zip(chain.models, chain.parts, strict=True)
        ]

    def chosen(self, domain: AnyDomain, analysis: Analysis) -> list[dict[str, object]]:
        """The artifacts that an analysis has chosen, without the paths that it does not read."""
        unread = ARTIFACT_PATHS.difference(analysis.reads)
        if unread == ARTIFACT_PATHS:
            return []
        rows = analysis.chosen(self.artifacts(domain))
        return [{key: value for key, value in row.items() if key not in unread} for row in rows]

    def _own(self, domain: AnyDomain) -> dict[str, models.Experiment]:
        return {name: entry for name, entry in self.checked.experiments.items() if entry.domain == domain.name}

    def _of(self, domain: AnyDomain) -> Iterator[Shown]:
        own = self._own(domain)
        for analysis in shared(domain, own, self.checked.study.tables, self.checked.grids):
            yield self._entry(analysis.step, domain, analysis)
        own_ones = domain.analyses(own, self.checked.regimes)
        for analysis in (
            *comparisons(domain, own),
            *profiles(domain),
            *laws(domain, own, self.checked.regimes),
            *curations(domain, own, self.checked),
            *own_ones,
        ):
            yield self._entry(f"{domain.name}_{analysis.step}", domain, analysis)

    def _entry(self, rule: str, domain: AnyDomain, analysis: Analysis) -> Shown:
        given = self.checked.study.figures.titles
        titles = {name: given.get(_title_key(domain, analysis, name), "") for name in analysis.figures}
        drawn = any(name in TIDY for name in analysis.reads)
        code = self.measured_code(rule, domain) if drawn else self.sampled_code(rule, domain)
        artifacts = self.chosen(domain, analysis)
        return Shown(rule, domain, analysis, artifacts, titles, code, self.tables if drawn else "")


def profiled_domains(domains: Iterable[AnyDomain]) -> list[dict[str, object]]:
    """Of each domain: its name, headline and profile, and what its first models must reach, as JSON values."""
    return [
        {
            "name": domain.name,
            "headline": asdict(domain.headline),
            "adequate": [asdict(limit) for limit in domain.adequate],
            "profile": None if domain.profile is None else asdict(domain.profile),
        }
        for domain in domains
    ]


def _title_key(domain: AnyDomain, analysis: Analysis, figure: str) -> str:
    """How `figures.titles` names a figure; those of one shared step have a title together."""
    return f"{domain.name}-{analysis.title or figure}"


def looks() -> str:
    """Digest of the page's looks besides its code: template, style, script and captions."""
    total = hashlib.sha256()
    for path in sorted([*ASSETS.iterdir(), *CAPTIONS.iterdir()]):
        if path.is_file():
            total.update(f"{path.name}\0".encode() + path.read_bytes())
    return total.hexdigest()[:16]
