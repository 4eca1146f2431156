"""How fast a device is with a study's models: as given on the command line, or measured on this machine."""

from dataclasses import dataclass

from selfloop.domains.cost import AnyEffort
from selfloop.identity import digest
from selfloop.numbers import short
from selfloop.operations.cost import Speed, SpeedOf
from selfloop.planning.artifacts import Experiment
from selfloop.planning.work import domain_module


@dataclass(frozen=True)
class Rates:
    """What the user says of a device.

    Attributes:
        training, sampling: shares of its peak FLOP/s that training (and measuring) and sampling reach.
        trained_per_second, sampled_per_second: units, whatever the model; they count in place of FLOPs.
    """

    training: float = 0.4
    sampling: float = 0.03
    trained_per_second: float | None = None
    sampled_per_second: float | None = None

    def speed(self, flops: float) -> Speed:
        """The speed of a device with this peak FLOP/s."""
        rates = (self.trained_per_second, self.sampled_per_second)
        return Speed(flops * self.training, flops * self.sampling, *rates)

    def sentence(self, flops: float, source: str) -> str:
        """All this, for the reader."""
        shares = f"{self.training:.0%} of it in training and measuring, {self.sampling:.1%} in sampling"
        parts = [f"A device has {short(flops)}FLOP/s ({source}) and reaches {shares}"]
        given = {"trained": self.trained_per_second, "sampled": self.sampled_per_second}
        parts += [f"{rate:,.0f} units are {verb} per second" for verb, rate in given.items() if rate]
        return "; ".join(parts) + "."


def given(flops: float, rates: Rates, notes: list[str]) -> SpeedOf:
    """The same speed for all models: of a device with this peak FLOP/s. Adds to `notes` where it comes from."""
    notes.append(rates.sentence(flops, "by --flops"))
    return lambda experiment, effort: rates.speed(flops)


def measured(rates: Rates, threads: int | None, notes: list[str]) -> SpeedOf:
    """Measures each model of the study once on this machine, where its domain can; else matrix products.

    Args:
        rates: what the user gives, which counts in place of a measurement.
        threads: CPU threads; None for all.
        notes: gets a sentence per model measured.
    """
    from selfloop.training.speed import device_name, matmul_flops

    products = matmul_flops(threads)
    where = device_name(threads)
    known: dict[str, Speed] = {}

    def speed_of(experiment: Experiment, effort: AnyEffort) -> Speed:
        module = domain_module(experiment.domain.name, "measure_speed")
        if module is None:
            note = rates.sentence(products, f"matrix products on {where}")
            if note not in notes:
                notes.append(note)
            return rates.speed(products)
        shapes = experiment.domain.architecture(experiment.data, experiment.sized_model)
        key = digest([experiment.domain.name, experiment.sized_model.plain, shapes])
        if key not in known:
            sections = (experiment.data, experiment.sized_model, experiment.training, experiment.sampling[0])
            train, generate = module.measure_speed(*sections, effort.row, threads)
            known[key] = Speed(train, generate, rates.trained_per_second, rates.sampled_per_second)
            notes.append(
                f"{experiment.domain.model_title(experiment.model)} trains at {short(train)}FLOP/s and samples at "
                f"{short(generate)}FLOP/s, measured on {where}; that is {train / products:.0%} and "
                f"{generate / products:.1%} of its matrix products."
            )
        return known[key]

    return speed_of
