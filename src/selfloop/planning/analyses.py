"""The figures and tables that all domains show as far as they can. Light: it runs while the Snakefile is parsed.

A figure that all domains share is a row of `shared`, a module of its rule's name in `selfloop.analysis`, and a caption.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from selfloop.config import models
from selfloop.data.regimes import Regime
from selfloop.domains.protocol import Analysis, AnyDomain, Artifacts, first_seeds
from selfloop.paper.published import published, published_laws
from selfloop.planning.check import Checked
from selfloop.planning.grids import Grid


def shared(
    domain: AnyDomain,
    experiments: Mapping[str, models.Experiment],
    tables: models.Tables,
    grids: Mapping[str, Grid],
) -> Iterator[Analysis]:
    """What all domains show, as far as they can, in the page's order; `tables` is the config's section."""
    yield Analysis("plot_headline", figures=("headline",), asked=published(domain, experiments))
    regimes = {regime for entry in experiments.values() for regime in entry.regimes}
    points = {name: dict(grid.points) for name, grid in grids.items() if regimes.issuperset(grid.points)}
    if points:
        yield Analysis("plot_grid", figures=tuple(f"grid-{name}" for name in points), asked=points)
    yield Analysis("write_tables", tables=("headline", "trend"))
    if domain.curve is not None:
        variants = tuple(f"learning-curves-{x}-{scale}" for x in ("epoch", "step") for scale in ("linear", "log"))
        curve, reads = asdict(domain.curve), ("learning_curves",)
        yield Analysis("plot_learning_curves", figures=variants, title="learning-curves", asked=curve, reads=reads)
    if domain.synthetic:
        yield Analysis("plot_synthetic", figures=("synthetic",), asked=[asdict(each) for each in domain.synthetic])
    if domain.samples:
        yield Analysis("write_samples", tables=("samples",), asked=tables.plain, reads=("part",), chosen=parts_once)


def profiles(domain: AnyDomain) -> Iterator[Analysis]:
    """The figure of the profile's measures; each domain has the step among its own."""
    if domain.profiled:
        asked = [asdict(each) for each in domain.profiled]
        yield Analysis("plot_profile", figures=("profile",), asked=asked, reads=("profile",))


def laws(
    domain: AnyDomain, experiments: Mapping[str, models.Experiment], regimes: Mapping[str, Regime]
) -> Iterator[Analysis]:
    """What domains show whose simulations have a law of every regime; each has the steps among its own."""
    if simulated := domain.simulated(experiments, regimes):
        quantities, values = [asdict(each) for each in simulated], published_laws(domain, experiments)
        asked = {"quantities": quantities, "own": domain.own_settings(experiments), "published": values}
        figures = tuple(f"laws-{each.metric.replace('_', '-')}" for each in simulated)
        yield Analysis("plot_laws", figures=figures, asked=asked)
        yield Analysis("write_laws", tables=("laws",), asked=asked)


def curations(domain: AnyDomain, experiments: Mapping[str, models.Experiment], checked: Checked) -> Iterator[Analysis]:
    """What filters by rewards do beside their exact law, under regimes that train on the rows they keep alone."""
    filters: dict[str, object] = {}
    for name in sorted({regime for entry in experiments.values() for regime in entry.regimes}):
        regime = checked.regimes[name]
        choice = regime.sources[0].filter if len(regime.sources) == 1 and regime.budget is None else None
        if choice is not None and not choice.random and regime.sources[0].origin == "previous":
            of = checked.study.filters[choice.name]
            if of.by == "reward" and of.threshold is None:
                filters[name] = of.plain
    if filters:
        samplings = [each for entry in experiments.values() for each in domain.samplings(entry)]
        temperatures = {domain.sampling_title(each): getattr(each, "temperature", 1.0) for each in samplings}
        yield Analysis(
            "plot_curation",
            figures=("curation",),
            asked={"filters": filters, "temperatures": temperatures},
            reads=("checkpoint",),
            chosen=lambda rows: [row for row in rows if row["regime"] in filters],
        )


def parts_once(artifacts: Sequence[Artifacts]) -> list[Artifacts]:
    """The data sets sampled for each experiment's first seed, each once."""
    found: dict[str, Artifacts] = {}
    for row in first_seeds(artifacts):
        found.setdefault(row["part"], row)
    return list(found.values())
