"""A config, checked before anything is built: each section, what they have to do with each other, and defaults."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from selfloop.config import models
from selfloop.config.filters import Filter
from selfloop.config.filters import problems as filter_problems
from selfloop.config.load import check_plain, validated
from selfloop.config.messages import dotted, nearest, shown
from selfloop.config.section import PER_CHAIN
from selfloop.data import regimes
from selfloop.domains.protocol import domain_names, load_domain
from selfloop.errors import UserError
from selfloop.inputs.paths import TooMany
from selfloop.planning.grids import Grid, expanded
from selfloop.planning.size import check_size

SECTIONS = ("data", "model", "training", "sampling", "simulation")
# A key of `training`, in domains that have it: keys of `training` that iteration 1 has in place of the rest.
FIRST_ITERATION = "first_iteration"
START = "start"  # a key of `training`, in domains that have it
MOST_NAMED = 1_000  # experiments, regimes, and samplings of an experiment
# Keys of a section that end others of the experiment that it is like: of `training`, and of `model`.
SIZES = ("architecture", "hidden_size", "layers", "heads", "intermediate_size", "vocabulary", "initializer_range")
ALTERNATIVES = {
    "epochs": ("steps",),
    "steps": ("epochs",),
    "checkpoint": (*SIZES, "revision"),
    "architecture": ("checkpoint", "revision"),
}


@dataclass(frozen=True)
class Checked:
    """A config that is right.

    Attributes:
        study: the sections that are the same for every domain.
        experiments: by name, each with its domain's sections, defaults filled in and `like` resolved.
        regimes: all that there are, by name.
        grids: those of the study's grids, by name.
    """

    study: models.Study
    experiments: Mapping[str, models.Experiment]
    regimes: Mapping[str, regimes.Regime]
    grids: Mapping[str, Grid]

    @cached_property
    def plain(self) -> dict[str, object]:
        """The config as JSON values."""
        return {**self.study.plain, "experiments": {name: entry.plain for name, entry in self.experiments.items()}}


def check(config: Mapping[str, object]) -> Checked:
    """The config with defaults filled in and `like` resolved.

    Raises:
        UserError: anything that is wrong, named by its key, with what it held and what is allowed.
    """
    check_plain(config)
    for key in ("experiments", "regimes"):
        if isinstance(held := config.get(key), Mapping) and len(held) > MOST_NAMED:
            raise UserError(f"{key}: {len(held):,} are more than a study can have; at most {MOST_NAMED:,}.")
    config, grids = expanded(config, MOST_NAMED)
    study = validated(models.Study, config)
    for name, table in study.regimes.items():
        _check_regime(name, table)
        _check_filters(name, table, study.filters)
    for name, of in study.filters.items():
        for problem in filter_problems(of):
            raise UserError(f"filters.{name}.{problem}")
    own = {name: regimes.from_config(name, table, study.filters) for name, table in study.regimes.items()}
    known = {**regimes.BUILT_IN, **own}
    entries = config["experiments"]  # as they are written, for messages
    assert isinstance(entries, Mapping)
    resolved: dict[str, dict[str, object]] = {}
    checked = Checked(study, {name: _experiment(name, entries, known, resolved) for name in entries}, known, grids)
    _check_origins(checked.experiments)
    check_size(checked.experiments, known)
    for name, experiment in checked.experiments.items():
        for regime in experiment.regimes:
            _check_domain(experiment, known[regime], ("experiments", name))
            _check_scorers(experiment, known[regime], study.filters, ("experiments", name))
        _check_training_sets(experiment, known, ("experiments", name))
        _check_simulation(experiment, known, ("experiments", name))
    return checked


def check_titles(titles: Iterable[str], figures: Iterable[str]) -> None:
    """Raise `UserError` for the first of `figures.titles` that names none of the study's figures."""
    for name in titles:
        _check_member(("figures", "titles"), name, figures, "figure")


def _experiment(
    name: str,
    entries: Mapping[str, Mapping[str, object]],
    known_regimes: Mapping[str, regimes.Regime],
    resolved: dict[str, dict[str, object]],
) -> models.Experiment:
    entry = _resolve_like(name, entries, resolved)
    where = ("experiments", name)
    if "domain" not in entry:
        validated(models.Experiment, entry, where)
    _check_member((*where, "domain"), entry["domain"], domain_names(), "domain")
    domain = load_domain(str(entry["domain"]))
    experiment = validated(domain.experiment, entry, where)
    samplings = list(experiment.sampling)
    if len(samplings) > MOST_NAMED:
        raise UserError(f"{dotted((*where, 'sampling'))}: {len(samplings):,} entries; at most {MOST_NAMED:,}.")
    held = [str(sampling.plain) for sampling in samplings]
    for place, sampling in enumerate(samplings):
        if (same := held.index(held[place])) < place:
            key = dotted((*where, "sampling", place))
            raise UserError(f"{key}: {shown(sampling.plain)} is the same as sampling[{same}]; leave one of them out.")
    titles = [domain.sampling_title(sampling) for sampling in samplings]
    for place, title in enumerate(titles):
        if (same := titles.index(title)) < place:
            raise UserError(
                f"{dotted((*where, 'sampling', place))}: tables call it '{title}', and sampling[{same}] as well; "
                "make them differ in what shapes the samples, or leave one of them out."
            )
    for regime in experiment.regimes:
        _check_member((*where, "regimes"), regime, known_regimes, "regime")
    iterations = experiment.iterations
    if isinstance(iterations, dict):
        for regime in iterations:
            _check_member((*where, "iterations"), regime, experiment.regimes, "regime of this experiment")
        for regime in experiment.regimes:
            if regime not in iterations:
                raise UserError(
                    f"{dotted((*where, 'iterations'))}: {shown(iterations)} lacks the regime '{regime}'; "
                    f"give a number for each of {', '.join(experiment.regimes)}, or one for all."
                )
    try:
        drawn = of_seed(experiment, experiment.seeds[0])
        for problem in domain.problems(drawn):
            raise UserError(f"{dotted(where)}.{problem}")
    except TooMany as error:
        raise UserError(f"{dotted((*where, 'data'))}: {error}") from error
    return _with_first_iteration(experiment, where)


def of_seed(experiment: models.Experiment, seed: int) -> models.Experiment:
    """The experiment as the chain of a seed has it: with that seed's real data, if each chain has its own."""
    if getattr(getattr(experiment, "data", None), "seed", None) != PER_CHAIN:
        return experiment
    return experiment.changed(data=experiment.data.changed(seed=seed))


def origin_of(experiment: models.Experiment) -> str | None:
    """The experiment whose models of iteration 1 those of an experiment start from, or None."""
    model: object = getattr(experiment, "model", None)
    return None if model is None else load_domain(experiment.domain).origin(model)


def _check_origins(experiments: Mapping[str, models.Experiment]) -> None:
    """Raise for an experiment that starts from one that is not there, cannot be before it, or does not suit it."""
    for name, entry in experiments.items():
        if (other := origin_of(entry)) is None:
            continue
        where = (*("experiments", name), "model", "checkpoint", "experiment")
        _check_member(where, other, [known for known in experiments if known != name], "experiment")
        origin, way = experiments[other], [name]
        if origin.domain != entry.domain:
            raise UserError(f"{dotted(where)}: '{other}' is of domain '{origin.domain}', not '{entry.domain}'.")
        step: str | None = other
        while step is not None and step in experiments:
            if step in way:
                raise UserError(f"{dotted(where)}: '{other}' leads back to '{step}'; name an experiment that does not.")
            way.append(step)
            step = origin_of(experiments[step])
        if of_seed(origin, origin.seeds[0]) is not origin:
            raise UserError(
                f"{dotted(where)}: '{other}' has data.seed: {PER_CHAIN}, and so a tokenizer for each seed; name one "
                "with the same data for all."
            )
        for seed in entry.seeds:
            if seed not in origin.seeds:
                raise UserError(
                    f"{dotted(('experiments', name, 'seeds'))}: {seed} is not among the seeds of '{other}', whose "
                    f"model of the same seed training starts from. Allowed: {', '.join(map(str, origin.seeds))}."
                )
        for problem in load_domain(entry.domain).origin_problems(entry, origin):
            raise UserError(f"{dotted(('experiments', name))}.{problem}")


def _check_training_sets(
    experiment: models.Experiment, known_regimes: Mapping[str, regimes.Regime], where: tuple[str, ...]
) -> None:
    """Raise for a training set with fewer rows than a batch, where the domain knows that before anything is run."""
    limits = load_domain(experiment.domain).known_rows(experiment)
    if limits is None:
        return
    real, fewest = limits
    for name in experiment.regimes:
        for iteration in range(2, 1 + experiment.iterations_of(name)):
            rows = regimes.training_set(known_regimes[name], iteration).rows(real)
            if rows < fewest:
                raise UserError(
                    f"{dotted((*where, 'training', 'batch_size'))}: {fewest} is more than the {rows} rows that regime "
                    f"'{name}' trains on at iteration {iteration}; take a smaller batch or larger amounts."
                )


def _with_first_iteration(experiment: models.Experiment, where: tuple[str, ...]) -> models.Experiment:
    """The experiment with what iteration 1 really has of its own: settings that differ from those of the later ones."""
    asked: Mapping[str, object] | None = getattr(experiment.training, FIRST_ITERATION, None)
    if asked is None:
        return experiment
    place = (*where, "training", FIRST_ITERATION)
    later = experiment.training.without(FIRST_ITERATION).plain
    if START in asked:
        raise UserError(f"{dotted(place)}.{START}: {shown(asked[START])} cannot be: model 1 starts from scratch.")
    if FIRST_ITERATION in asked:
        raise UserError(f"{dotted(place)}: unknown key '{FIRST_ITERATION}'{nearest(FIRST_ITERATION, later)}")
    training = validated(type(experiment.training), _merged(later, asked), place)
    drawn = of_seed(experiment.changed(training=training), experiment.seeds[0])
    for problem in load_domain(experiment.domain).problems(drawn):
        raise UserError(f"{dotted(where)}.{problem.replace('training.', f'training.{FIRST_ITERATION}.', 1)}")
    first = training.plain
    own = {key: first.get(key) for key in {**later, **first} if first.get(key) != later.get(key)}
    return experiment.changed(training=experiment.training.changed(**{FIRST_ITERATION: own}))


def _resolve_like(
    name: str, entries: Mapping[str, Mapping[str, object]], resolved: dict[str, dict[str, object]]
) -> dict[str, object]:
    """An experiment with everything that it takes over from the one it is like; sections are merged key by key.

    `resolved` has those that are known already, by name, and gets those on the way.
    """
    way = [name]
    while (last := way[-1]) not in resolved and (other := entries[last].get("like")) is not None:
        if not isinstance(other, str) or (other not in entries and other != last):
            known = [entry for entry in entries if entry != last]
            raise _not_among(("experiments", last, "like"), other, known, "experiment")
        if other in way:
            raise UserError(
                f"experiments.{last}.like: '{other}' leads back to '{last}'; name an experiment that does not."
            )
        way.append(other)
    for step in reversed(way):
        if step not in resolved:
            own = {key: value for key, value in entries[step].items() if key != "like"}
            other = entries[step].get("like")
            merged = {} if other is None else dict(resolved[str(other)])
            for key, value in own.items():
                before = merged.get(key) if key in SECTIONS else None
                if isinstance(before, Mapping) and isinstance(value, Mapping):
                    merged[key] = _merged(before, value)
                else:
                    merged[key] = value
            resolved[step] = merged
    return resolved[name]


def _merged(others: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """A section with keys of its own over another's; of alternatives, its own end the other's."""
    ended = {other for key, others in ALTERNATIVES.items() if own.get(key) is not None for other in others}
    return {**{key: value for key, value in others.items() if key not in ended}, **own}


def _check_regime(name: str, table: models.Regime) -> None:
    if name in regimes.BUILT_IN:
        names = ", ".join(regimes.BUILT_IN)
        raise UserError(f"regimes.{name}: '{name}' is a built-in regime ({names}); give yours another name.")
    for place, part in enumerate(table.parts):
        where = f"regimes.{name}.parts[{place}]"
        for key in ("last", "by_age"):
            held = getattr(part, key)
            if held is not None and part.origin != "all":
                raise UserError(f"{where}.{key}: {shown(held)} is only allowed with from: all, not {part.origin}.")
        if part.by_age is not None and "amount" in part.model_fields_set:
            raise UserError(
                f"{where}: amount {shown(part.amount)} and by_age {shown(part.by_age)} are both given; "
                "give one of amount and by_age."
            )
        if part.origin == "fresh" and part.rows == "same":
            raise UserError(
                f"{where}.rows: same is not allowed with from: fresh, whose rows are others at every "
                "iteration; take them from: real."
            )


def _check_filters(name: str, table: models.Regime, filters: Mapping[str, Filter]) -> None:
    if table.control is not None and all(part.filter is None for part in table.parts):
        raise UserError(f"regimes.{name}.control: {table.control} is only allowed with a filter in one of its parts.")
    for place, part in enumerate(table.parts):
        where: tuple[str | int, ...] = ("regimes", name, "parts", place)
        if part.random and part.filter is None:
            raise UserError(f"{dotted((*where, 'random'))}: true is only allowed with a filter.")
        if part.filter is None:
            continue
        _check_member((*where, "filter"), part.filter, filters, "filter")
        if part.origin not in ("previous", "all"):
            raise UserError(
                f"{dotted((*where, 'filter'))}: '{part.filter}' chooses among sampled rows, from: previous or all, not "
                f"{part.origin}."
            )
        if part.rows == "same":
            raise UserError(
                f"{dotted((*where, 'rows'))}: same is not allowed with a filter, which chooses the rows; leave it out."
            )


def _check_scorers(
    experiment: models.Experiment,
    regime: regimes.Regime,
    filters: Mapping[str, Filter],
    where: tuple[str, ...],
) -> None:
    """Raise for a filter that the domain of an experiment cannot score."""
    domain = load_domain(experiment.domain)
    for source in regime.sources:
        if source.filter is None:
            continue
        name, scorer = source.filter.name, filters[source.filter.name]
        if getattr(experiment, "simulation", None) is not None:
            raise UserError(
                f"{dotted((*where, 'simulation'))}: '{regime.name}' has a filter, and filters are not simulated; leave "
                "`simulation` out, or run the regime in another experiment."
            )
        if scorer.by not in domain.scorers:
            raise UserError(
                f"filters.{name}.by: domain '{domain.name}', of {dotted(where)}, has no '{scorer.by}'"
                f"{nearest(scorer.by, domain.scorers)}"
            )
        data = getattr(experiment, "data", None)
        if scorer.scored_under == "referee" and not getattr(data, "reserve", 0):
            raise UserError(
                f"{dotted((*where, 'data', 'reserve'))}: filter '{name}' needs one, as its referee is trained on more "
                "real rows than the chains are; reserve at least 1."
            )
        for problem in domain.scorer_problems(experiment, scorer):
            raise UserError(f"filters.{name}.{problem}")


def _check_simulation(
    experiment: models.Experiment, known: Mapping[str, regimes.Regime], where: tuple[str, ...]
) -> None:
    """Raise for a simulation without any chain."""
    asked = getattr(experiment, "simulation", None) is not None
    fresh = all(any(s.origin == "fresh" for s in known[name].sources) for name in experiment.regimes)
    if asked and fresh and not load_domain(experiment.domain).simulations(experiment, known):
        raise UserError(
            f"{dotted((*where, 'simulation'))}: all of {', '.join(experiment.regimes)} take fresh rows, which are not "
            "simulated of given data; leave `simulation` out, or add a regime without them."
        )


def _check_domain(experiment: models.Experiment, regime: regimes.Regime, where: tuple[str, ...]) -> None:
    """Raise for what a regime asks of an experiment that its domain cannot do, or for too small a reserve."""
    domain = load_domain(experiment.domain)
    if regime.weighted and not domain.weights:
        raise UserError(
            f"{dotted((*where, 'regimes'))}: '{regime.name}' weights rows, and domain '{domain.name}' cannot train "
            "with weights; leave out the weights."
        )
    iterations = experiment.iterations_of(regime.name)
    needed, key = regime.reserve(iterations), (*where, "data", "reserve")
    held: float | None = getattr(getattr(experiment, "data", None), "reserve", None)
    if needed and held is None:
        raise UserError(
            f"{dotted((*where, 'regimes'))}: '{regime.name}' takes fresh real rows, and domain '{domain.name}' has no "
            "reserve of them."
        )
    if needed > (held or 0) + 1e-9:
        raise UserError(
            f"{dotted(key)}: {held:g} is not enough for regime '{regime.name}', which takes {needed:g} times the real "
            f"train rows from the reserve in {iterations:,} iterations; reserve at least {needed:g}."
        )


def _check_member(where: tuple[str | int, ...], value: object, allowed: Iterable[str], what: str) -> None:
    if value not in list(allowed):
        raise _not_among(where, value, allowed, what)


def _not_among(where: tuple[str | int, ...], value: object, allowed: Iterable[str], what: str) -> UserError:
    return UserError(f"{dotted(where)}: unknown {what} {shown(value)}{nearest(value, allowed)}")
