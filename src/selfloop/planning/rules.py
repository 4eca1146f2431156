"""What the Snakefile asks for while it is parsed: the study of a config, code digests, and the files to make."""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from pathlib import Path

from selfloop.code_digest import code_digest
from selfloop.config.load import check_keys, read_scalars, uncollected
from selfloop.data.regimes import REAL
from selfloop.domains.protocol import AnyDomain, load_domain
from selfloop.errors import UserError
from selfloop.identity import digest, short
from selfloop.jobs.steps import has_step, step_module
from selfloop.planning import paths
from selfloop.planning import study as studies
from selfloop.planning.artifacts import Experiment, Model
from selfloop.planning.check import Checked, check, check_titles
from selfloop.planning.requests import Requesting
from selfloop.planning.resources import Resources
from selfloop.planning.shown import Showing, Wildcards
from selfloop.planning.sources import Sources

LIBRARY = Path(__file__).resolve().parents[2]  # the folder that holds this package
RESOURCES = LIBRARY.parent / "config/resources.yaml"


def expose_library(workflow: str) -> None:
    """Let the processes that Snakemake starts for jobs import this package, and no module of the study's folder.

    Raises:
        SystemExit: `workflow`, the folder of the Snakefile, has a name in whose files Snakemake would find wildcards.
    """
    if set(workflow) & set("{}"):
        sys.exit(f"selfloop: {workflow}: Snakemake takes braces in this path for wildcards; rename or move the folder.")
    library = str(LIBRARY)
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # an empty entry is the working folder, as "." is
    others = [path for path in given if os.path.abspath(path) not in (library, os.getcwd())]
    os.environ["PYTHONPATH"] = os.pathsep.join([library, *others])
    os.environ["PYTHONSAFEPATH"] = "1"  # `python -m` does not put the working folder first


class Plan(Requesting):
    """A study, and what its rules need to know besides."""

    checked: Checked

    # No date of a file counts (see `session.compat`), and no name holds code. So the digest of a job's code covers the
    # steps that its inputs come from as well: what a killed run has left half renewed shows in the params alone.

    def _real_steps(self, domain: AnyDomain) -> tuple[str, ...]:
        tokenized = any(e.tokenizer is not None for e in self.experiments if e.domain.name == domain.name)
        return ("prepare_data", "train_tokenizer", "tokenize") if tokenized else ("prepare_data",)

    def _set_steps(self, model: Model) -> tuple[str, ...]:
        sampled = model.start is not None or any(take.iteration != REAL for take, _ in model.takes)
        scored = ("score",) if model.scores else ()
        return (*self._real_steps(model.domain), "concatenate", *(("train", "generate", *scored) if sampled else ()))

    def step_codes(self) -> dict[str, str]:
        """Digest of the code of each step that data, models and samples come from, by domain and step."""
        loop = ("concatenate", "train", "generate", "evaluate_model")
        return {
            f"{domain.name} {step}": step_code(step, domain.name)
            for domain in self.domains
            for step in (*self._real_steps(domain), *loop, *_optional(domain, "evaluate_part"))
        }

    def sampled_code(self, step: str, domain: AnyDomain) -> str:
        """Digest of the code of a step that shows models and what they sample."""
        return steps_code(domain.name, *self._real_steps(domain), "concatenate", "train", "generate", step)

    def measured_code(self, step: str, domain: AnyDomain | None = None) -> str:
        """Digest of the code of a step that shows what is measured in the study."""
        measured = []
        for each in self.domains:
            simulates = any(e.simulations for e in self.experiments if e.domain.name == each.name)
            simulated = ("simulate_chains",) if simulates else ()
            profiled = ("measure_profile",) if each.profile is not None else ()
            steps = (*_optional(each, "measure_baseline"), "evaluate_model", *simulated, *profiled)
            part = "evaluate_part" if has_step(each.name, "evaluate_part") else "generate"
            measured += [self.sampled_code(part, each), steps_code(each.name, *steps)]
        return short(digest([*measured, steps_code(None if domain is None else domain.name, step)]))

    def warnings(self) -> list[str]:
        """What of the config is allowed and likely not wanted; a sentence each, beginning with the key."""
        models = {e.name: e.sized_model for e in self.experiments}
        named: dict[str, list[str]] = {}
        for name, entry in self.checked.experiments.items():
            for text in load_domain(entry.domain).warnings(entry.changed(model=models[name])):
                named.setdefault(text, []).append(name)
        found = [
            f"experiments.{name}.{text}" + (f" The same holds for {', '.join(others)}." if others else "")
            for text, (name, *others) in named.items()
        ]
        return found + [_of_copies(e) for e in self.data.values() if e.copies]

    @property
    def reserved(self) -> str:
        """A regular expression of the names of data that have a reserve; empty if none have."""
        return "|".join(re.escape(name) for name, e in self.data.items() if getattr(e.data, "reserve", 0))

    # Inputs that the wildcards do not spell, and what else a job's result depends on. One function per job for each of
    # the two, not one per file and value: Snakemake takes longer to call a function than the function takes, and a
    # study has thousands of jobs.

    def real_train(self, wildcards: Wildcards) -> str:
        """The real train split that a job's model is compared with."""
        return self.models[wildcards.model].real("train")

    def real_test(self, wildcards: Wildcards) -> str:
        """The real test split that a job's model is measured on."""
        return self.models[wildcards.model].real("test")

    def concatenate_input(self, wildcards: Wildcards) -> dict[str, object]:
        """Inputs of a job of the rule concatenate: no more of its sources than Snakemake has to know."""
        model = self.models[wildcards.model]
        return {"real": model.real("train"), **self.sources.inputs(model)}

    # Params of a function that takes `input` are not recorded: the name of the model holds these.

    def concatenate_sources(self, wildcards: Wildcards, input: object) -> dict[str, list[str]]:
        """All sources of a job of the rule concatenate."""
        return self.sources.of(self.models[wildcards.model])

    def concatenate_takes(self, wildcards: Wildcards, input: object) -> list[dict[str, object]]:
        """How many rows it takes from each of them."""
        return self.models[wildcards.model].take_table

    def train_input(self, wildcards: Wildcards) -> dict[str, object]:
        """Inputs of a job of the rule train."""
        model = self.models[wildcards.model]
        watches = model.domain.watches_validation(model.training)
        watched = {"validation": model.real("validation")} if watches else {}
        start = {} if model.start is None else {"start": paths.checkpoint(model.start)}
        base = {} if model.base is None else {"base": paths.checkpoint(model.base)}
        return {"test": model.real("test"), **watched, **model.tokenizer_input, **start, **base}

    def evaluate_part_input(self, wildcards: Wildcards) -> dict[str, object]:
        """Inputs of a job of the rule evaluate_part."""
        model = self.models[wildcards.model]
        first = paths.checkpoint(model.first)
        return {"first": first, "real": model.real("train"), "test": model.real("test")}

    def prepare_data_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule prepare_data."""
        experiment = self.data[wildcards.data]
        read = {"data": experiment.data.plain, "contents": experiment.contents}
        return {**_of(experiment, "prepare_data"), **read}

    def train_tokenizer_input(self, wildcards: Wildcards) -> dict[str, object]:
        """Inputs of a job of the rule train_tokenizer."""
        experiment = self.tokenizers[wildcards.data, wildcards.tokenizer]
        given = {} if experiment.origin is None else {"given": experiment.origin.tokenizer_file}
        return {"train": paths.real(paths.documents(wildcards.data), "train"), **given}

    def train_tokenizer_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule train_tokenizer."""
        experiment = self.tokenizers[wildcards.data, wildcards.tokenizer]
        steps = ("prepare_data", "train_tokenizer")
        return {**_of(experiment, *steps), "tokenizer": experiment.tokenizer}

    def tokenize_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule tokenize."""
        experiment = self.data[wildcards.data]
        steps = ("prepare_data", "train_tokenizer", "tokenize")
        return {**_of(experiment, *steps), "data": experiment.data.plain}

    def measure_baseline_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule measure_baseline."""
        experiment = self.baselines[wildcards.real, wildcards.baseline]
        return {
            **_of(experiment, *self._real_steps(experiment.domain), "measure_baseline"),
            "model": experiment.baseline,
        }

    def concatenate_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule concatenate."""
        model = self.models[wildcards.model]
        streams = {"streams": model.streams, "chain_streams": model.chain_streams}
        # The only thing in the takes that the model's name does not hold, for messages.
        named = {take.filter.name for take, _ in model.takes if take.filter} if model.experiment.filters else ()
        settings = {**streams, "budget": model.budget, **({"filters": sorted(named)} if named else {})}
        return {**settings, "code": steps_code(model.domain.name, *self._set_steps(model))}

    def train_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule train."""
        model = self.models[wildcards.model]
        experiment = model.experiment
        return {
            **_of(experiment, *self._set_steps(model), "train"),
            "streams": model.streams,
            "model": model.model.plain,
            **({} if experiment.model_contents is None else {"model_contents": experiment.model_contents}),
            "training": model.training.plain,
            "data": experiment.data.plain,
            "seed": model.seed,
            "state": paths.state(model.name),
        }

    def generate_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule generate."""
        model, part = self.models[wildcards.model], self.parts[wildcards.model, wildcards.part]
        experiment = model.experiment
        return {
            **_of(experiment, *self._set_steps(model), "train", "generate"),
            "streams": part.streams,
            "data": experiment.data.plain,
            "sampling": part.sampling.plain,
            "precision": getattr(model.training, "precision", "auto"),
            "iteration": model.iteration,
            "part": part.index,
            "state": paths.part_state(model.name, wildcards.part),
        }

    def evaluate_model_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule evaluate_model."""
        model = self.models[wildcards.model]
        steps = (*self._set_steps(model), "train", "evaluate_model")
        return {**_of(model.experiment, *steps), **model.experiment.evaluation}

    def evaluate_part_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule evaluate_part."""
        model, part = self.models[wildcards.model], self.parts[wildcards.model, wildcards.part]
        sampled = {"streams": part.streams, "sampling": part.sampling.plain, "part": part.index}
        return {**_of(model.experiment, *self._set_steps(model), "train", "generate", "evaluate_part"), **sampled}

    def score_input(self, wildcards: Wildcards) -> dict[str, object]:
        """Inputs of a job of the rule score."""
        score = self.scores[wildcards.model, wildcards.part, wildcards.score]
        under = {} if score.under is None else {"checkpoint": paths.checkpoint(score.under)}
        real = {} if score.real is None else {"real": score.real}
        named = score.scorer["by"] == "cross-entropy" and score.under is None
        read = named or score.scorer["by"] == "length"
        counted = self.models[wildcards.model].tokenizer_input if read else {}
        return {"part": score.part.folder, **under, **real, **counted}

    def score_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule score."""
        model = self.models[wildcards.model]
        score = self.scores[wildcards.model, wildcards.part, wildcards.score]
        steps = (*self._set_steps(model), "train", "generate", "score")
        settings = {"scorer": score.scorer, "data": model.experiment.data.plain, "seed": model.seed}
        contents = {} if score.contents is None else {"contents": score.contents}
        return {**_of(model.experiment, *steps), **settings, **contents}

    def measure_profile_input(self, wildcards: Wildcards) -> dict[str, object]:
        """Inputs of a job of the rule measure_profile; no checkpoint among them that `selfloop prune` deletes."""
        profile = self.profiles[wildcards.profile]
        model = self.models[profile.first]
        real = {"train": model.real("train"), "test": model.real("test")}
        return {"parts": [part.folder for part, _ in profile.links], "first": paths.checkpoint(profile.first), **real}

    def measure_profile_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule measure_profile."""
        profile = self.profiles[wildcards.profile]
        links = [
            {
                "part": part.folder,
                "previous": None if before is None else before.folder,
                "checkpoint": paths.checkpoint(part.model),
                "sampling": part.sampling.plain,
            }
            for part, before in profile.links
        ]
        steps = (*self._real_steps(profile.experiment.domain), "concatenate", "train", "generate", "measure_profile")
        read = {"data": profile.experiment.data.plain, "contents": profile.experiment.contents}
        return {**_of(profile.experiment, *steps), "links": links, **read}

    def simulate_chains_settings(self, wildcards: Wildcards) -> dict[str, object]:
        """Params of a job of the rule simulate_chains."""
        simulation = self.simulations[wildcards.simulation]
        domain = simulation.domain.name
        return {"domain": domain, "code": steps_code(domain, "simulate_chains"), "simulation": simulation.settings}

    @property
    def measurement_files(self) -> list[str]:
        """What the evaluation rules write, each once."""
        baselines = [paths.baseline(*names) for names in self.baselines]
        models = [paths.model_measurements(name) for name in self.models]
        return baselines + models + [file for part in self.parts.values() for file in part.measurements]

    @property
    def profile_files(self) -> list[str]:
        """What the rule measure_profile writes."""
        return [paths.profile(name) for name in self.profiles]

    @property
    def curve_files(self) -> list[str]:
        """What the train rule writes besides checkpoints."""
        return [paths.learning_curve(name) for name in self.models]

    @property
    def simulation_files(self) -> list[str]:
        """What the simulations write, each once."""
        return [simulation.file for simulation in self.simulations.values()]

    @cached_property
    def sources(self) -> Sources:
        """What training sets are made of."""
        return Sources(self)

    @cached_property
    def shows(self) -> Showing:
        """The figures, tables and page of the study."""
        return Showing(self, self.checked, self.sampled_code, self.measured_code)


@cache
def step_code(step: str, domain: str | None) -> str:
    """Digest of a step's code: the module that its rule's script runs, and all that it imports."""
    return code_digest(step_module(step, domain))


@cache
def steps_code(domain: str | None, *steps: str) -> str:
    """Digest of the code of several steps of a domain, each counted once."""
    return short(digest([step_code(step, domain) for step in dict.fromkeys(steps)]))


def _of_copies(experiment: Experiment) -> str:
    """The warning about files of an experiment's data that hold the same as others."""
    copy, original = experiment.copies[0]
    more = f" ({len(experiment.copies) - 1:,} more such files)" if experiment.copies[1:] else ""
    return (
        f"experiments.{experiment.name}.data: '{copy}' holds the same as '{original}'{more}, so that its rows count "
        "twice; leave one out if it is a copy."
    )


def _optional(domain: AnyDomain, *steps: str) -> tuple[str, ...]:
    """Those of the steps that the domain has."""
    return tuple(step for step in steps if has_step(domain.name, step))


def _of(experiment: Experiment, *steps: str) -> dict[str, object]:
    """What the params of all steps of a domain hold; `steps` are the job's own and those that its inputs come from."""
    return {"domain": experiment.domain.name, "code": steps_code(experiment.domain.name, *steps)}


@uncollected()
def plan_study(
    config: dict[str, object],
    resources: Path = RESOURCES,
    files: Iterable[Path | str] = (),
    given: Mapping[str, object] | None = None,
    in_job: bool = False,
    set_resources: Mapping[str, Mapping[str, object]] | None = None,
) -> Plan:
    """The plan of a config, whose steps ask for what the file `resources` says.

    Snakemake has read the config from `files`, and of two entries of one key has kept the last; `given` is what its
    option `--config` has added, with nested numbers as strings, which are read as numbers in `config`, too. `in_job`
    says that this process runs a job of a study that has begun already. `set_resources` is its option of that name.

    Raises:
        SystemExit: the config is wrong; the message is shown alone, and the exit code is 1. Around the message of any
            other exception, Snakemake prints the lines of code that it came from.
    """
    try:
        for file in files:
            check_keys(Path(file))
        read_scalars(config, given or {})
        checked = check(config)
        plan = Plan(studies.experiments(checked, in_job))
        plan.resources = Resources(resources)
        plan.resources.check_sharing(checked.experiments.values(), set_resources or {})
        plan.checked = checked
        plan.submits = lambda: False
        check_titles(checked.study.figures.titles, plan.shows.titled)
    except UserError as error:
        sys.exit(f"selfloop: {error}")
    return plan
