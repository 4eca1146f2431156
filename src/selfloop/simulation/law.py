"""The law of a regime: from its tables of parts to the exact expected error and variance.

**Terms.** A model is fitted to rows by their mean μ̂ and, where it has one, their variance; it then samples rows with
that mean and variance. Least squares on the same X at every iteration is such a model (of the projected labels), and
so are a Gaussian, categories (of one-hot rows, whose variance is the Gini-Simpson diversity) and a kernel density
estimate. All is linear in the variance, and said for one dimension, in units of the real rows' variance.

**The recursion.** A data set j of m rows, sampled from a model, has the mean m_j = μ_source + e_j. Its noise e_j is
uncorrelated with all that was before, with variance s/m, s the variance of the rows that the model samples; the
expected variance within j, of divisor m, is (1 - 1/m) s. Of rows drawn from j, m' of m, the mean has a further noise of
variance s (1/m' - 1/m), uncorrelated with the rest; rows that are the same at every iteration bring the same noise. A
training set mixes its takes with the shares π_j of their weight,

    μ_n = Σ π_j m_j,    V_n = Σ π_j (1 - 1/m_j) s_j + Σ π_j E m_j² - E μ_n²,

and a budget of M of its N rows adds a noise of variance S² (1/M - 1/N) and leaves the variance S² (1 - 1/M), where
S² (N - 1) = N V_n. So each model's mean is a combination of noises whose coefficients follow from the table alone:
E (μ_n - μ)² = Σ_i c_{n,i}² var_i. Whatever the regime, nothing but this is needed:

    replace             Σ c² = n           (eq. 4)       V_t = (1 - 1/n)^t
    accumulate          Σ 1/i²             (Theorem 1)   Π (1 - 1/(n k²)),   bounded by π²/6 and below (Theorem 2)
    replace-multiple    Σ 1/i              (eq. 11)

where the variance of sampled rows is known, as in least squares, s = 1 throughout. There the error's whole
distribution follows for whole parts: that of iteration 1, times Σ c² over its first value.

Exact are the moments of a mean with known or fitted variance, under every regime but one with weights and a budget,
of which there is no law. For least squares they are exact where whole parts are taken of one X (`whole`), and else what
the error tends to for many rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selfloop.data.regimes import REAL, Take, TrainingSet

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """What a domain's models do with the variance.

    Attributes:
        rows: n, of the real train split and of every part.
        known: whether the variance of sampled rows is that of the real ones, whatever the model.
        unbiased: whether a fitted variance has the divisor N - 1; else it is the maximum likelihood's.
        scale: the variance of sampled rows over the model's, λ.
        added: what is added to the model's variance in sampling, in units of the real rows' (a kernel's h²).
        given: whether the real rows are given, instead of redrawn for every seed. Moments are then those over
            sampling alone, about model 1 and in units of its variance.
    """

    rows: int
    known: bool = False
    unbiased: bool = False
    scale: float = 1.0
    added: float = 0.0
    given: bool = False


@dataclass(frozen=True)
class Law:
    """Expected values by iteration, (iterations,) each.

    Attributes:
        mean: E (μ̂_n - μ)², in units of the real rows' variance.
        variance: of model n in the same units; 1 where it is known.
        weights: the coefficients of the noises in the models' means, (iterations, noises), in units of the standard
            deviation that the mean of n rows has at iteration 1.
    """

    mean: Array
    variance: Array
    weights: Array

    @property
    def growth(self) -> Array:
        """The expected squared error over that of iteration 1: c_n."""
        return np.asarray((self.weights**2).sum(axis=1))


def whole(sets: Sequence[TrainingSet]) -> bool:
    """Whether training sets take whole parts of one X alone: then the law of least squares is exact."""
    return all(not drawn(take) and not take.fresh for one in sets for take in one.takes) and not any(
        limited(one) for one in sets
    )


def drawn(take: Take) -> bool:
    """Whether a take has some rows of a data set only."""
    return take.amount < 1


def limited(one: TrainingSet) -> bool:
    """Whether a training set is cut to its budget."""
    return one.budget is not None and one.budget < sum(take.amount for take in one.takes) - 1e-9


def has_law(sets: Sequence[TrainingSet]) -> bool:
    """Whether there is a law: not for rows with weights that are cut to a budget, nor for those that a filter chooses,
    or of which some are the same in different amounts.
    """
    same: dict[tuple[int, int], set[float]] = {}
    for one in sets:
        if limited(one) and len({take.weight for take in one.takes}) > 1:
            return False
        for take in one.takes:
            if take.filter is not None:
                return False
            if take.same:
                same.setdefault((take.iteration, take.part), set()).add(take.amount)
    return all(len(amounts) == 1 for amounts in same.values())


def law(sets: Sequence[TrainingSet], fit: Fit) -> Law:
    """The law of the regime with these training sets, from iteration 1 on.

    Raises:
        ValueError: there is none (`has_law`), or a training set has no rows.
    """
    if not has_law(sets):
        raise ValueError("the regime has no law")
    places: dict[object, int] = {}
    for n, one in enumerate(sets, start=1):
        for k, take in enumerate(one.takes):
            places.setdefault(_noise(take, n, k), len(places))
            if _picks(take, fit.rows):
                places.setdefault(_pick(take, n, k), len(places))
        if limited(one):
            places.setdefault(("budget", n), len(places))
    coefficients = np.zeros((len(sets) + 1, len(places)))  # row 0: the real distribution
    noise = np.zeros(len(places))  # variances
    squares = np.zeros(len(sets) + 1)  # E (μ_n - μ)²
    fitted = np.ones(len(sets) + 1)
    # The unit of given rows is the variance of model 1, which has divided theirs by n.
    real = fit.rows / (fit.rows - 1) if fit.given and not fit.unbiased and not fit.known and fit.rows > 1 else 1.0
    for n, one in enumerate(sets, start=1):
        takes = [(k, take, rows) for k, take in enumerate(one.takes) if (rows := take.rows(fit.rows))]
        if not takes:
            raise ValueError(f"the training set of iteration {n} has no rows")
        counts = np.array([rows for *_, rows in takes], dtype=np.float64)
        weights = counts * np.array([take.weight for _, take, _ in takes])
        shares = weights / weights.sum()
        models = np.array([take.iteration for _, take, _ in takes])
        sampled = np.where(models == REAL, real, 1.0 if fit.known else fit.scale * fitted[models] + fit.added)
        fresh = np.array([take.fresh for _, take, _ in takes])
        own = sampled / np.where(fresh, counts, fit.rows)
        if fit.given:
            own[(models == REAL) & ~fresh] = 0.0
        sources = np.bincount(models, shares)
        of = np.flatnonzero(sources)
        mixed = sources[of] @ coefficients[of]
        at = np.array([places[_noise(take, n, k)] for k, take, _ in takes])
        noise[at] = own
        np.add.at(mixed, at, shares)
        picks = [place for place, (_, take, _) in enumerate(takes) if _picks(take, fit.rows)]
        if picks:
            at = np.array([places[_pick(takes[place][1], n, takes[place][0])] for place in picks])
            noise[at] = sampled[picks] * (1 / counts[picks] - 1 / fit.rows)
            np.add.at(mixed, at, shares[picks])
            own[picks] += noise[at]
        square = float(mixed**2 @ noise)
        # Within data sets, whose rows have divided their spread, and between the means of data sets.
        variance = float(shares @ ((1 - 1 / counts) * sampled + squares[models] + own)) - square
        total = counts.sum()
        effective = 1 / float(shares**2 @ (1 / counts))
        if limited(one):
            assert one.budget is not None
            kept = round(one.budget * fit.rows)
            spread = variance * total / (total - 1)
            place = places["budget", n]
            noise[place] = spread * (1 / kept - 1 / total)
            mixed[place] = 1.0
            square += noise[place]
            variance, effective = spread * (1 - 1 / kept), kept
        if fit.unbiased:
            variance *= effective / (effective - 1) if effective > 1 else np.nan
        coefficients[n], squares[n] = mixed, square
        fitted[n] = 1.0 if fit.known else variance
    return Law(squares[1:], fitted[1:], coefficients[1:] * np.sqrt(noise * fit.rows))


def _picks(take: Take, rows: int) -> bool:
    """Whether it draws some of a data set's rows, where which ones they are adds noise."""
    return not take.fresh and 0 < take.rows(rows) < rows


def _noise(take: Take, n: int, place: int) -> object:
    """What the noise of a take's data set is known by; fresh rows are in no other take."""
    return ("fresh", n, place) if take.fresh else (take.iteration, take.part)


def _pick(take: Take, n: int, place: int) -> object:
    """What the noise of drawing rows is known by; the same rows bring the same."""
    if take.same:
        return ("same", take.iteration, take.part, take.amount)
    return ("rows", n, place)
