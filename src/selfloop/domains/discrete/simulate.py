"""The discrete loop at scale: all seeds of a block at once, every data set by its counts of types."""

from collections.abc import Mapping, Sequence

import numpy as np

from selfloop.domains.discrete.model import measured, tempered
from selfloop.simulation.stacked import Array, Integers

NUMBERS = 2**22  # of the counts of a block of seeds, at most


class Counted:
    """Chains of `seeds` seeds: data sets are counts (seeds, types), and so are models, with weights.

    Args:
        seeds: of the block.
        rows: n of the real train split.
        real: its counts (types,), if all seeds have the same.
        probabilities: of the real distribution (types,), by which fresh rows are drawn, and real ones that differ.
        test: counts of the test rows (types,).
        temperature: of sampling.
    """

    def __init__(
        self, seeds: int, rows: int, real: Integers | None, probabilities: Array, test: Array, temperature: float
    ) -> None:
        self.seeds, self.rows, self.given, self.probabilities = seeds, rows, real, probabilities
        self.test, self.temperature = test, temperature

    def real(self, generator: np.random.Generator) -> Integers:
        if self.given is None:
            return self.fresh(generator, self.rows)
        return np.broadcast_to(self.given, (self.seeds, len(self.given)))

    def fresh(self, generator: np.random.Generator, rows: int) -> Integers:
        return generator.multinomial(rows, self.probabilities, self.seeds)

    def sample(self, model: Array, generator: np.random.Generator) -> Integers:
        return generator.multinomial(self.rows, tempered(model, self.temperature))

    def pick(self, data: Integers, numbers: Integers, generator: np.random.Generator) -> Integers:
        pairs = zip(data, numbers.tolist(), strict=True)
        draw = generator.multivariate_hypergeometric
        return np.stack([draw(own, number, method="marginals") for own, number in pairs])

    def merge(self, data: Sequence[Integers]) -> Integers:
        return np.asarray(np.sum(data, axis=0))

    def fit(self, taken: Sequence[tuple[Integers, Array]]) -> Array:
        """Counts with a mean weight of 1."""
        totals = [data.sum(axis=1) for data, _ in taken]
        if len(taken) == 1:
            return taken[0][0].astype(np.float64)
        everything = np.sum(totals, axis=0)
        model = np.zeros((self.seeds, len(self.test)))
        for (data, share), total in zip(taken, totals, strict=True):
            model += data * (share * everything / np.maximum(total, 1))[:, None]
        return model

    def measure(self, model: Array) -> Mapping[str, Array]:
        """As `model.measured`."""
        return measured(model, self.test)
