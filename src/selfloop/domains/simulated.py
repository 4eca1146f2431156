"""What domains have in common whose loop is also simulated at scale, with the law of each regime beside it. Light."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, TypeVar

from selfloop.config import models
from selfloop.config.section import PER_CHAIN, Section
from selfloop.data.profile import Measure, Profile
from selfloop.data.quantity import Quantity
from selfloop.data.regimes import BUILT_IN, Regime
from selfloop.domains.protocol import Domain
from selfloop.simulation.config import Chains, Simulated, combinations, table_of

E = TypeVar("E", bound=models.Experiment)
D = TypeVar("D", bound=Section)
M = TypeVar("M", bound=Section)
S = TypeVar("S", bound=Section)

MOST_SIMULATIONS = 10_000


class SimulatedDomain(Domain[E, D, M, S]):
    """A domain with simulations.

    Attributes:
        chains: what a job of the rule simulate_chains is told: `simulation.config.Chains`, and the keys of a setting.
    """

    chains: ClassVar[type[Chains]]
    preload: tuple[str, ...] = ("numpy", "pyarrow.parquet", "pandas", "pydantic", "safetensors.numpy", "tqdm")

    def setting(self, experiment: E) -> dict[str, object]:
        """The setting of the experiment's own chains: values of the keys of `chains`."""
        own = {**experiment.data.without("reserve").plain, **experiment.model.plain}
        return {**own, "seed": 0} if own["seed"] == PER_CHAIN else own

    def architecture(self, data: D, model: M) -> object:
        """The data: there are no weights to begin with, and experiments on other data draw numbers of their own."""
        return data.without("reserve").plain

    def model_slug(self, model: M) -> str:
        """The only model there is."""
        return self.name

    def model_title(self, model: M) -> str:
        """The only model; experiments are told apart by their names."""
        return self.title

    def simulations(self, experiment: E, regimes: Mapping[str, Regime] = BUILT_IN) -> Sequence[Mapping[str, object]]:
        """All settings of the simulation's grid, for each sampling and regime; none without a simulation."""
        return [chains.plain for _, chains in self.jobs(experiment, regimes)]

    def jobs(self, experiment: E, regimes: Mapping[str, Regime] = BUILT_IN) -> Iterator[tuple[str, Chains]]:
        """The same, each with its config key."""
        asked: Simulated | None = getattr(experiment, "simulation", None)
        if asked is None:
            return
        own = self.setting(experiment)
        for place, line in enumerate(getattr(asked, "grid", None) or [Section()]):
            lists = {key: values for key in type(line).model_fields if (values := getattr(line, key)) is not None}
            for varied in combinations(lists):
                for sampling in experiment.sampling:
                    for name in experiment.regimes:
                        if not self.drawn(experiment) and any(s.origin == "fresh" for s in regimes[name].sources):
                            continue  # the fresh rows of given data are few, and the loop's own
                        chains = self.chains(
                            **{**own, **varied, **_said(sampling, self.chains)},
                            regime=name,
                            table=table_of(regimes[name]),
                            iterations=asked.iterations,
                            seeds=asked.seeds,
                        )
                        yield f"simulation.grid[{place}]", chains

    def simulated(self, experiments: Mapping[str, E], regimes: Mapping[str, Regime] = BUILT_IN) -> list[Quantity]:
        settings = [chains for entry in experiments.values() for _, chains in self.jobs(entry, regimes)]
        return [each for each in self.laws if any(self.measures(chains, each.metric) for chains in settings)]

    def measures(self, chains: Chains, metric: str) -> bool:
        """Whether simulated chains have the measurement of a law."""
        return True

    def drawn(self, experiment: E) -> bool:
        """Whether every simulated seed draws real rows of its own, instead of all beginning with the same."""
        return getattr(experiment.data, "source", "") in ("normal", "categories")

    def own_problems(self, experiment: E) -> Iterable[str]:
        """What is wrong with it besides the size of the simulation's grid."""
        return ()

    def problems(self, experiment: E) -> list[str]:
        return [*self.own_problems(experiment), *self._simulation_problems(experiment)]

    def _simulation_problems(self, experiment: E) -> Iterable[str]:
        grid = getattr(getattr(experiment, "simulation", None), "grid", None) or []
        sizes = [1]
        for line in grid:
            sizes.append(len(list(combinations({key: getattr(line, key) or [0] for key in type(line).model_fields}))))
        settings = max(1, sum(sizes[1:])) * len(experiment.sampling) * len(experiment.regimes)
        if settings > MOST_SIMULATIONS:
            yield f"simulation.grid: it makes {settings:,} jobs; at most {MOST_SIMULATIONS:,}."

    def own_settings(self, experiments: Mapping[str, E]) -> list[dict[str, str]]:
        """By experiment with a simulation, how tables call the setting of its own chains; empty if there is no law.

        Chains that share their real rows by a seed of the data do not follow a law over real rows, nor those that do
        not share them one for given rows.
        """
        found = []
        for name, entry in experiments.items():
            if getattr(entry, "simulation", None) is not None:
                alike = (getattr(entry.data, "seed", None) == PER_CHAIN) == self.drawn(entry)
                own = self.chains.model_construct(None, **self.setting(entry))
                found.append({"experiment": name, "label": own.label if alike else ""})
        return found


VARIANCE = Measure("log_variance", "Variance by direction to real", "log ratio", logarithmic=True)
TAILS = Measure("tail_mass", "Rows in the real tails", floor=0.0, ceiling=1.0)
KAPPA = Measure("kappa", "κ of the mean's error", even=1.0)


class VectorDomain(SimulatedDomain[E, D, M, S]):
    """A domain whose rows are vectors; its profile is measured by `vector_profile`."""

    profile = Profile(spread=VARIANCE, recall=TAILS, flat=(TAILS,), like=None, carried=KAPPA)
    profiled = (
        VARIANCE,
        Measure("covariance_trace_ratio", "Total variance to real", floor=0.0),
        TAILS,
        Measure("mean_shift", "Squared error of the mean", "real variance", floor=0.0),
        KAPPA,
        Measure("cosine", "Cosine of successive errors of the mean"),
    )


def _said(sampling: Section, chains: type[Chains]) -> dict[str, object]:
    return {key: value for key, value in sampling.plain.items() if key in chains.model_fields}
