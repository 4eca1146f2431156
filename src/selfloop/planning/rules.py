"""What the Snakefile asks for while it is parsed: the study of a config, code digests, and the files to make."""

import os
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from selfloop.code_digest import code_digest
from selfloop.config import load as configuration
from selfloop.domains.protocol import Analysis, Domain
from selfloop.errors import UserError
from selfloop.jobs.steps import step_module
from selfloop.paper.published import published
from selfloop.planning import paths
from selfloop.planning import shown as reports
from selfloop.planning import study as studies
from selfloop.planning.resources import Resources

LIBRARY = Path(__file__).resolve().parents[2]  # the folder that holds this package
RESOURCES = LIBRARY.parent / "config/resources.yaml"
ARTIFACT_PATHS = frozenset({"checkpoint", "part", "train", "test"})  # what an `Analysis` may read besides the metrics


def expose_library() -> None:
    """Let the scripts of this workflow, which Snakemake runs in processes of their own, import this package."""
    library = str(LIBRARY)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != library]
    os.environ["PYTHONPATH"] = os.pathsep.join([library, *others])


class Plan(studies.Study):
    """A study, and what its rules need to know besides."""

    checked: Mapping[str, Any]
    resources: Resources

    def threads(self, step: str) -> Any:
        """CPUs that a job of the rule `step` asks for, as its directive `threads` wants it."""
        return self._asked(step, "cpus", lambda wildcards: self.resources.of(step, self._domain(wildcards))["cpus"])

    def asks(self, step: str, what: str) -> Any:
        """How much of the resource `what` a job of the rule `step` asks for, as its directive `resources` wants it."""
        amount = self.resources.amount
        first = self._asked(step, what, None)
        if first is not None and amount(step, self.domains[0].name, what, 2) == first:
            return first
        return lambda wildcards, attempt: amount(step, self._domain(wildcards), what, attempt)

    def _asked(self, step: str, what: str, otherwise: Any) -> Any:
        """The number where it is the same in all domains of the study: Snakemake takes its time to call a function."""
        amounts = {self.resources.of(step, domain.name)[what] for domain in self.domains}
        return amounts.pop() if len(amounts) == 1 else otherwise

    def _domain(self, wildcards: Any) -> str:
        """Name of the domain that a job belongs to."""
        if "model" in wildcards.keys():  # noqa: SIM118 (a list with names, not a mapping)
            return self.models[wildcards.model].domain.name
        if "data" in wildcards.keys():  # noqa: SIM118
            return self.data[wildcards.data].domain.name
        return self.simulations[wildcards.simulation].domain.name

    def code(self, step: str, domain: Domain | None = None) -> str:
        """Digest of the code that a step runs; of a domain's own module where there is a domain."""
        return step_code(step, None if domain is None else domain.name)

    # Inputs that the wildcards do not spell, and what else a job's result depends on. One function per job for each of
    # the two, not one per file and value: Snakemake takes longer to call a function than the function takes, and a
    # study has thousands of jobs.

    def concatenate_input(self, wildcards: Any) -> dict[str, Any]:
        """Inputs of a job of the rule concatenate."""
        model = self.models[wildcards.model]
        return {"real": model.real("train"), "parts": [folder for _, folder in model.takes]}

    def train_input(self, wildcards: Any) -> dict[str, Any]:
        """Inputs of a job of the rule train."""
        model = self.models[wildcards.model]
        return {"test": model.real("test"), **model.tokenizer_input}

    def evaluate_part_input(self, wildcards: Any) -> dict[str, Any]:
        """Inputs of a job of the rule evaluate_part."""
        model = self.models[wildcards.model]
        first = paths.checkpoint(model.first)
        return {"first": first, "real": model.real("train"), "test": model.real("test")}

    def prepare_data_settings(self, wildcards: Any) -> dict[str, Any]:
        """Params of a job of the rule prepare_data."""
        experiment = self.data[wildcards.data]
        return {**self._of("prepare_data", experiment), "data": experiment.data}

    def train_tokenizer_settings(self, wildcards: Any) -> dict[str, Any]:
        """Params of a job of the rule train_tokenizer."""
        experiment = self.tokenizers[wildcards.data, wildcards.tokenizer]
        return {**self._of("train_tokenizer", experiment), "tokenizer": experiment.tokenizer}

    def tokenize_settings(self, wildcards: Any) -> dict[str, Any]:
        """Params of a job of the rule tokenize."""
        return self._of("tokenize", self.data[wildcards.data])

    def concatenate_settings(self, wildcards: Any) -> dict[str, Any]:
        """Params of a job of the rule concatenate."""
        model = self.models[wildcards.model]
        settings = {"identity": model.identity, "takes": model.take_table, "budget": model.budget}
        return {**settings, "code": self.code("concatenate")}

    def train_settings(self, wildcards: Any) -> dict[str, Any]:
        """Params of a job of the rule train."""
        model = self.models[wildcards.model]
        experiment = model.experiment
        return {
            **self._of("train", experiment),
            "identity": model.identity,
            "model": experiment.model,
            "training": model.training,
            "state": paths.state(model.name),
        }

    def generate_settings(self, wildcards: Any) -> dict[str, Any]:
        """Params of a job of the rule generate."""
        model, part = self.models[wildcards.model], self.parts[wildcards.model, wildcards.part]
        experiment = model.experiment
        return {
            **self._of("generate", experiment),
            "identity": part.identity,
            "data": experiment.data,
            "sampling": part.sampling,
            "precision": model.training.get("precision", "auto"),
            "iteration": model.iteration,
            "part": part.index,
        }

    def evaluate_model_settings(self, wildcards: Any) -> dict[str, Any]:
        """Params of a job of the rule evaluate_model."""
        return self._of("evaluate_model", self.models[wildcards.model].experiment)

    def evaluate_part_settings(self, wildcards: Any) -> dict[str, Any]:
        """Params of a job of the rule evaluate_part."""
        experiment = self.models[wildcards.model].experiment
        part = self.parts[wildcards.model, wildcards.part]
        sampled = {"identity": part.identity, "sampling": part.sampling, "part": part.index}
        return {**self._of("evaluate_part", experiment), **sampled}

    def simulate_chains_settings(self, wildcards: Any) -> dict[str, Any]:
        """Params of a job of the rule simulate_chains."""
        simulation = self.simulations[wildcards.simulation]
        code = self.code("simulate_chains", simulation.domain)
        return {"domain": simulation.domain.name, "code": code, "simulation": simulation.settings}

    def _of(self, step: str, experiment: studies.Experiment) -> dict[str, Any]:
        return {"domain": experiment.domain.name, "code": self.code(step, experiment.domain)}

    @property
    def measurement_files(self) -> list[str]:
        """What the evaluation rules write, each once."""
        models = [paths.model_measurements(name) for name in self.models]
        return models + [paths.part_measurements(part.model, part.name) for part in self.parts.values()]

    @property
    def curve_files(self) -> list[str]:
        """What the train rule writes besides checkpoints."""
        return [paths.learning_curve(name) for name in self.models]

    @property
    def simulation_files(self) -> list[str]:
        """What the simulations write, each once."""
        return [simulation.file for simulation in self.simulations.values()]

    def analyses(self, domain: Domain) -> list[Analysis]:
        """The figures and tables that a domain has of its own in this study."""
        entries = self.checked["experiments"]
        own = {e.name: entries[e.name] for e in self.experiments if e.domain.name == domain.name}
        return list(domain.analyses(own))

    def artifacts(self, domain: Domain) -> list[dict[str, Any]]:
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
            for chain in self.chains
            if chain.experiment.domain.name == domain.name
            for model, parts in zip(chain.models, chain.parts, strict=True)
        ]

    def read_by(self, domain: Domain, analysis: Analysis) -> list[dict[str, Any]]:
        """The artifacts that an analysis has chosen, without the paths that it does not read."""
        unread = ARTIFACT_PATHS.difference(analysis.reads)
        if unread == ARTIFACT_PATHS:
            return []
        chosen = analysis.chosen(self.artifacts(domain))
        return [{key: value for key, value in row.items() if key not in unread} for row in chosen]

    def files_read_by(self, domain: Domain, analysis: Analysis) -> list[str]:
        """The paths of these artifacts, each once."""
        rows = self.read_by(domain, analysis)
        return list(dict.fromkeys(row[key] for row in rows for key in row if key in ARTIFACT_PATHS))

    @property
    def shown_files(self) -> list[str]:
        """The models and data sets that figures and tables show as they are."""
        files = [part["folder"] for domain in self.domains if domain.samples for part in self.samples(domain.name)]
        for domain in self.domains:
            for analysis in self.analyses(domain):
                files += self.files_read_by(domain, analysis)
        return list(dict.fromkeys([*files, *self.report_files()]))

    def shown_by(self, domain: Domain) -> list[str]:
        """The rules whose outputs show what the study has measured in a domain: shared ones, and the domain's own."""
        shown = ["plot_headline", "write_tables"]
        shown += ["plot_learning_curves"] if domain.curve else []
        shown += ["plot_synthetic"] if domain.synthetic else []
        shown += ["write_samples"] if domain.samples else []
        return shown + [f"{domain.name}_{analysis.step}" for analysis in self.analyses(domain)]

    def shown(self, domain: Domain) -> list[reports.Shown]:
        """What the rules that show a domain write."""
        return reports.shown(domain, self.shown_by(domain), self.analyses(domain))

    def report_files(self) -> list[str]:
        """The figures and tables that the study's page shows."""
        return [file for domain in self.domains for file in reports.files(self.shown(domain), self.formats)]

    def report(self) -> dict[str, Any]:
        """What the study's page is about, as JSON values; nothing in it is only about how the study is run."""
        domains = [
            {**reports.domain_spec(domain, self.shown(domain)), "published": self.published(domain)}
            for domain in self.domains
        ]
        config = {key: self.checked[key] for key in ("experiments", "regimes")}
        return {"domains": domains, "experiments": self.checked["experiments"], "config": config}

    def caption(self, domain: Domain, analysis: Analysis) -> str:
        """The file that explains what a domain's own analysis shows."""
        return reports.caption(f"{domain.name}_{analysis.step}")

    def report_looks(self) -> str:
        """Digest of what the page looks like besides its code."""
        return reports.looks()

    def published(self, domain: Domain) -> list[dict[str, Any]]:
        """The paper's values for the domain's experiments that have its setting."""
        own = {name: e for name, e in self.checked["experiments"].items() if e["domain"] == domain.name}
        return published(own, {name: list(map(domain.sampling_title, e["sampling"])) for name, e in own.items()})

    @property
    def domains(self) -> list[Domain]:
        """The domains of the study's experiments, each once, in their order."""
        return list({experiment.domain.name: experiment.domain for experiment in self.experiments}.values())

    def domain(self, name: str) -> Domain:
        """The domain of that name among those of the study."""
        return next(domain for domain in self.domains if domain.name == name)

    @property
    def formats(self) -> list[str]:
        """File formats of the figures."""
        formats: list[str] = self.checked["figures"]["formats"]
        return formats

    @property
    def titled(self) -> list[str]:
        """The figures that may be given a title; those of one shared rule have one together."""
        names = []
        for domain in self.domains:
            shared = [rule for rule in self.shown_by(domain) if rule in reports.SHARED and reports.SHARED[rule][0]]
            own = [figure for analysis in self.analyses(domain) for figure in analysis.figures]
            words = [*(rule.removeprefix("plot_").replace("_", "-") for rule in shared), *own]
            names += [f"{domain.name}-{word}" for word in words]
        return names

    def title(self, figure: str) -> str:
        """The title that the config gives to a figure, or an empty one."""
        title: str = self.checked["figures"]["titles"].get(figure, "")
        return title

    def samples(self, domain: str) -> list[dict[str, Any]]:
        """Part 0 of every model of each experiment's first seed, by regime and iteration; iteration 1 once."""
        rows: dict[str, dict[str, Any]] = {}
        for chain in self.chains:
            experiment = chain.experiment
            if experiment.domain.name != domain or chain.seed != experiment.seeds[0]:
                continue
            for model, parts in zip(chain.models, chain.parts, strict=True):
                rows.setdefault(
                    parts[0].folder,
                    {
                        "folder": parts[0].folder,
                        "model": experiment.domain.model_title(experiment.model),
                        "regime": chain.regime if model.iteration > 1 else "real data",
                        "sampling": experiment.domain.sampling_title(chain.sampling),
                        "iteration": model.iteration,
                        "seed": chain.seed,
                    },
                )
        return list(rows.values())


@cache
def step_code(step: str, domain: str | None) -> str:
    """Digest of a step's code: the module that its rule's script runs, and all that it imports."""
    return code_digest(step_module(step, domain))


def plan_study(config: Mapping[str, Any], resources: Path = RESOURCES, files: Iterable[Path | str] = ()) -> Plan:
    """The plan of a config, whose steps ask for what the file `resources` says.

    Snakemake has read the config from `files`, and of two entries of one key has kept the last.

    Raises:
        SystemExit: the config is wrong; the message is shown alone, and the exit code is 1. Around the message of any
            other exception, Snakemake prints the lines of code that it came from.
    """
    try:
        for file in files:
            configuration.check_keys(Path(file))
        checked = configuration.check(config)
        plan = Plan(studies.build(checked).experiments)
        plan.resources = Resources(resources)
        plan.checked = checked
        configuration.check_titles(checked["figures"]["titles"], plan.titled)
    except UserError as error:
        sys.exit(f"selfloop: {error}")
    return plan
