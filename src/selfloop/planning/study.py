"""From a checked config to the artifacts of a study: which there are, what each depends on, and where it lies.

Chains that share a history share its files, whatever their regimes are called, and a changed setting touches just what
depends on it: artifacts are named by all that they depend on.

Light: neither torch nor pyarrow is imported, since every cluster job parses the Snakefile again.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING

from selfloop.config import models
from selfloop.config.section import Section
from selfloop.data import regimes
from selfloop.data.contents import Contents
from selfloop.domains.protocol import AnyDomain, load_domain
from selfloop.errors import UserError
from selfloop.identity import Encoded, digest, encoded_list
from selfloop.jobs.steps import has_step
from selfloop.planning import paths
from selfloop.planning.artifacts import (
    REFEREE,
    Chain,
    Experiment,
    Model,
    Part,
    Profile,
    Score,
    Simulation,
    filter_read_by,
    model_name,
    read_by,
)
from selfloop.planning.check import FIRST_ITERATION, START, Checked, of_seed, origin_of
from selfloop.processes.gpus import devices
from selfloop.processor import AUTO, auto_precision

if TYPE_CHECKING:
    from selfloop.data.collect import ChainRow


@dataclass(repr=False)  # Snakemake takes the text of methods that it unpacks, and so of their study
class Study:
    """All artifacts of a study, by name, and the chains that they make up."""

    experiments: tuple[Experiment, ...]
    models: dict[str, Model] = field(default_factory=dict)
    parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    scores: dict[tuple[str, str, str], Score] = field(default_factory=dict)
    chains: list[Chain] = field(default_factory=list)
    profiles: dict[str, Profile] = field(default_factory=dict)

    _named: dict[str, str] = field(default_factory=dict)  # what each name stands for

    def __post_init__(self) -> None:
        for experiment in self.experiments:
            for name, identity in experiment.named.items():
                self._claim(name, identity)
            for settings in experiment.simulations:
                self._claim(Simulation(experiment.domain, settings).name, digest(settings))
            for seed in experiment.seeds:
                for sampling in experiment.sampling:
                    for regime in experiment.regimes:
                        self.chains.append(self._chain(experiment, regime, sampling, seed))
        self._profile_chains()

    @property
    def domains(self) -> list[AnyDomain]:
        """The domains of the study's experiments, each once, in their order."""
        return list({experiment.domain.name: experiment.domain for experiment in self.experiments}.values())

    def domain(self, name: str) -> AnyDomain:
        """The domain of that name among those of the study."""
        return next(domain for domain in self.domains if domain.name == name)

    @cached_property
    def data(self) -> dict[str, Experiment]:
        """Prepared data by folder name, each with an experiment that uses it."""
        return {experiment.data_name: experiment for experiment in reversed(self.experiments)}

    @cached_property
    def tokenizers(self) -> dict[tuple[str, str], Experiment]:
        """Tokenizers by the names of their data and their own, each with an experiment that uses it."""
        return {(e.data_name, e.tokenizer_name): e for e in reversed(self.experiments) if e.tokenizer is not None}

    @cached_property
    def baselines(self) -> dict[tuple[str, str], Experiment]:
        """Baselines by the names of their real data and their own, each with an experiment that uses it."""
        return {(e.real_name, e.baseline_name): e for e in reversed(self.experiments) if e.baseline_file is not None}

    @cached_property
    def simulations(self) -> dict[str, Simulation]:
        """Simulations by name; experiments that ask for the same one share it."""
        asked = [Simulation(e.domain, settings) for e in self.experiments for settings in e.simulations]
        return {simulation.name: simulation for simulation in asked}

    def simulation_rows(self) -> list[dict[str, str]]:
        """One row per experiment and simulation: how the tidy table names it and which file holds its values."""
        return [
            {
                "experiment": experiment.name,
                "domain": experiment.domain.name,
                "file": Simulation(experiment.domain, settings).file,
            }
            for experiment in self.experiments
            for settings in experiment.simulations
        ]

    def rows(self) -> list["ChainRow"]:
        """One row per chain and iteration: how the tidy tables name it and where its files lie."""
        return [
            {
                "experiment": chain.experiment.name,
                "domain": chain.experiment.domain.name,
                "model": chain.experiment.domain.model_title(chain.experiment.model),
                "regime": chain.regime,
                "sampling": chain.experiment.domain.sampling_title(chain.sampling),
                "seed": chain.seed,
                "iteration": model.iteration,
                "baseline": chain.experiment.baseline_file,
                "model_folder": paths.model(model.name),
                "part_folders": [part.folder for part in parts],
                "profile": None if chain.profile is None else paths.profile(chain.profile),
                "filtered": any(take.filter is not None for take, _ in model.takes),
            }
            for chain in self.chains
            for model, parts in zip(chain.models, chain.parts, strict=True)
        ]

    def _claim(self, name: str, identity: str) -> None:
        """Give a name to what has this identity.

        Raises:
            UserError: it is the name of something else.
        """
        if self._named.setdefault(name, identity) != identity:
            raise UserError(
                f"two different settings of this study would both be stored as '{name}', as their digests are alike; "
                "change one of them a little, such as a seed."
            )

    def _chain(self, experiment: Experiment, regime: regimes.Regime, sampling: Section, seed: int) -> Chain:
        iterations = experiment.iterations[regime.name]
        sets = [regimes.training_set(regime, n) for n in range(1, iterations + 1)]
        models: list[Model] = []

        @cache
        def part(iteration: int, index: int) -> Part:
            return self._part(experiment, models[iteration - 1], sampling, index)

        # By the id of the take. The n²/2 takes of accumulate over n iterations are n.
        known: dict[int, tuple[tuple[regimes.Take, str], Encoded]] = {}

        def pair(take: regimes.Take) -> tuple[tuple[regimes.Take, str], Encoded]:
            real = take.iteration == regimes.REAL
            folder = _real(experiment, take) if real else part(take.iteration, take.part).folder
            known[id(take)] = (take, folder), _taken(take, folder)
            return known[id(take)]

        for iteration, wanted in enumerate(sets, start=1):
            pairs = [known.get(id(take)) or pair(take) for take in wanted.takes]
            takes, made_from = tuple(each for each, _ in pairs), encoded_list(text for _, text in pairs)
            scores = tuple(
                self._score(experiment, part(take.iteration, take.part), models[0], take.filter.name)
                for take in wanted.takes
                if take.filter is not None and not take.filter.random
            )
            models.append(
                self._model(experiment, regime.name, seed, iteration, takes, made_from, wanted.budget, models, scores)
            )
        # Part 0 of every model, also of the last, shows what that model has become.
        indices: list[set[int]] = [{0} for _ in models]
        for (take, _), _ in known.values():
            if take.iteration != regimes.REAL:
                indices[take.iteration - 1].add(take.part)
        parts = tuple(
            tuple(part(iteration, index) for index in sorted(wanted_parts))
            for iteration, wanted_parts in enumerate(indices, start=1)
        )
        return Chain(experiment, regime.name, sampling, seed, tuple(models), parts)

    def _model(
        self,
        experiment: Experiment,
        regime: str,
        seed: int,
        iteration: int,
        takes: tuple[tuple[regimes.Take, str], ...],
        made_from: Encoded,
        budget: float | None,
        earlier: list[Model],
        scores: tuple[Score, ...],
    ) -> Model:
        base = None if experiment.origin is None else self._first_name(experiment.origin, seed)
        made_by = _made_by(experiment, seed, iteration, made_from, budget, base)
        start = None
        if earlier and experiment.start in ("first", "previous"):
            start = earlier[0 if experiment.start == "first" else -1].name
            made_by.append({"start": start})
        if scores:
            made_by.append({"scores": [score.file for score in scores]})
        identity = digest(encoded_list(made_by))
        name = model_name(experiment, seed, iteration, identity)
        if name not in self.models:
            first = earlier[0].name if earlier else name
            self.models[name] = Model(
                experiment, seed, iteration, takes, budget, identity, first, start, base, scores, regime
            )
        self._claim(name, identity)
        other = self.models[name].experiment
        if other.evaluation != experiment.evaluation:
            raise UserError(
                f"experiments.{experiment.name}.evaluate: it is another than that of '{other.name}', which has the "
                "same models; give both the same."
            )
        return self.models[name]

    def _first_name(self, experiment: Experiment, seed: int) -> str:
        """The name of an experiment's model of iteration 1, which all its regimes share."""
        wanted = regimes.training_set(experiment.regimes[0], 1)
        made_from = encoded_list(_taken(take, _real(experiment, take)) for take in wanted.takes)
        base = None if experiment.origin is None else self._first_name(experiment.origin, seed)
        made_by = _made_by(experiment, seed, 1, made_from, wanted.budget, base)
        return model_name(experiment, seed, 1, digest(encoded_list(made_by)))

    def _score(self, experiment: Experiment, part: Part, first: Model, name: str) -> Score:
        scorer, under = experiment.filters[name].scorer, None
        if scorer.scored_under == "referee":
            under = self._referee(experiment, first.seed).name
        elif scorer.scored_under in ("first", "sampler"):
            under = first.name if scorer.scored_under == "first" else part.model
        real = first.real("train") if scorer.compares else None
        own, contents = scorer.scored_under == "sampler", experiment.filter_contents.get(name)
        score = Score(part, scorer.plain, under, own, real, contents)
        return self.scores.setdefault((part.model, part.name, score.name), score)

    def _referee(self, experiment: Experiment, seed: int) -> Model:
        """The model of the real train rows and the whole reserve, which no chain samples from."""
        reserve: float = getattr(experiment.data, "reserve", 0.0)
        train, further = regimes.Take(regimes.REAL), regimes.Take(regimes.REAL, amount=reserve, fresh=True)
        taken = tuple((take, _real(experiment, take)) for take in (train, further))
        made_from = encoded_list(_taken(take, folder) for take, folder in taken)
        return self._model(experiment, "referee", seed, REFEREE, taken, made_from, None, [], ())

    def _profile_chains(self) -> None:
        """Find the profiles, and note in each chain in which its parts are."""
        alike: dict[tuple[str, int, str], list[Chain]] = {}
        for chain in self.chains:
            if chain.experiment.domain.profile is not None:
                alike.setdefault(_profile_key(chain), []).append(chain)
        names = {}
        for key, chains in alike.items():
            sampled = ([parts[0] for parts in chain.parts] for chain in chains)
            links = dict.fromkeys(link for own in sampled for link in zip(own, [None, *own[:-1]], strict=True))
            profile = Profile(chains[0].experiment, chains[0].seed, chains[0].models[0].name, tuple(links))
            self._claim(paths.profile(profile.name), profile.identity)
            self.profiles[profile.name] = profile
            names[key] = profile.name
        self.chains = [replace(chain, profile=names.get(_profile_key(chain))) for chain in self.chains]

    def _part(self, experiment: Experiment, model: Model, sampling: Section, index: int) -> Part:
        identity = digest([model.name, sampling.plain, index])
        part = Part(
            model.name,
            sampling,
            index,
            identity,
            experiment.domain.sampling_slug(sampling),
            digest([model.streams, "part", index]),
            has_step(experiment.domain.name, "evaluate_part"),
        )
        self._claim(part.folder, identity)
        return self.parts.setdefault((part.model, part.name), part)


def _real(experiment: Experiment, take: regimes.Take) -> str:
    """The folder of real rows that a take is of."""
    return paths.real(experiment.real_name, "reserve" if take.fresh else "train")


def _made_by(
    experiment: Experiment,
    seed: int,
    iteration: int,
    made_from: Encoded,
    budget: float | None,
    base: str | None,
) -> list[object]:
    """What the name of a model is a digest of, but for where it starts from and the scores that it chooses by."""
    made_by: list[object] = [experiment.setting_name, seed, iteration, made_from, budget]
    # A first model of its own makes all models of its chain others, even those that take real rows alone: what they
    # sample is measured against it. Without one, names do not hold it.
    if experiment.first_iteration:
        made_by.append(experiment.first_iteration)
    return made_by if base is None else [*made_by, {"base": base}]


def _taken(take: regimes.Take, folder: str) -> Encoded:
    """What the rows of a take depend on; the folder says whether they are fresh."""
    choice = None if take.filter is None else _chosen_by(take.filter)
    return encoded_list([folder, take.amount, take.skip, take.weight, choice, *(["same"] if take.same else [])])


def _chosen_by(choice: regimes.Choice) -> dict[str, object]:
    """How rows are chosen."""
    kept = {**asdict(choice), "name": None}
    if choice.threshold is None:
        del kept["threshold"]
    return kept


def _profile_key(chain: Chain) -> tuple[str, int, str]:
    """Setting, seed and first model of a chain."""
    return chain.experiment.setting_name, chain.seed, chain.models[0].name


def build(checked: Checked, in_job: bool = False) -> Study:
    """The study of a config.

    Args:
        checked: the config.
        in_job: whether this process runs a job of a study, whose data files hold what they held when it began.

    Raises:
        UserError: a data file changes while it is read, or two settings would have one name.
    """
    return Study(experiments(checked, in_job))


def experiments(checked: Checked, in_job: bool = False) -> tuple[Experiment, ...]:
    """The experiments of a config; see `build`."""
    contents = Contents(in_job)

    @cache
    def drawn(name: str) -> tuple[Experiment, ...]:
        origin = origin_of(checked.experiments[name])
        return tuple(_drawn(name, checked, contents, None if origin is None else drawn(origin)[0]))

    found = [experiment for name in checked.experiments for experiment in drawn(name)]
    contents.keep()
    return tuple(found)


def _drawn(name: str, checked: Checked, contents: Contents, origin: Experiment | None) -> Iterator[Experiment]:
    """An experiment; of one whose chains have real data of their own, one for each seed, all of the same name."""
    entry = checked.experiments[name]
    for place, seed in enumerate(entry.seeds):
        own = of_seed(entry, seed)
        if own is entry:
            yield _experiment(name, entry, checked, contents, origin)
            return
        experiment = _experiment(name, own.changed(seeds=[seed]), checked, contents, origin)
        yield experiment if place == 0 else replace(experiment, simulations=())


def _settled(training: Section) -> Section:
    """`training` with the compute dtype of `precision: auto`, if that is bfloat16 and CPUs of this kind compute.

    Machines that choose differently then run different studies. Where this machine has GPUs, and on a cluster, steps
    choose where they run, and note it in their records.
    """
    here = not devices() and (AUTO in os.environ or shutil.which("sbatch") is None)
    if here and getattr(training, "precision", None) == "auto" and auto_precision() == "bfloat16":
        return training.changed(precision="bfloat16")
    return training


def _experiment(
    name: str, entry: models.Experiment, checked: Checked, contents: Contents, origin: Experiment | None
) -> Experiment:
    domain = load_domain(entry.domain)
    return Experiment(
        name=name,
        domain=domain,
        data=entry.data,
        model=entry.model,
        training=_settled(domain.trained(entry).without(FIRST_ITERATION)),
        start=getattr(entry.training, START, None) or "scratch",
        first_iteration=getattr(entry.training, FIRST_ITERATION, None) or {},
        sampling=tuple(entry.sampling),
        regimes=tuple(checked.regimes[regime] for regime in entry.regimes),
        filters=checked.study.filters,
        filter_contents={
            name: contents.read_by(filter_read_by(scorer), partial(getattr, scorer, "files"))
            for name, scorer in checked.study.filters.items()
            if scorer.command is not None or scorer.scored_under == "checkpoint"
        },
        iterations={regime: entry.iterations_of(regime) for regime in entry.regimes},
        seeds=tuple(entry.seeds),
        simulations=tuple(domain.simulations(entry, checked.regimes)),
        contents=contents.read_by(read_by(domain, entry.data), lambda: domain.input_files(entry.data)),
        copies=tuple(contents.copies(read_by(domain, entry.data))),
        model_contents=contents.read_by(read_by(domain, entry.model), lambda: domain.model_files(entry.model)),
        evaluation=domain.evaluation(entry),
        origin=origin,
    )
