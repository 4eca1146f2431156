"""How measured quantities are named: in the tidy tables, and for readers."""

from dataclasses import dataclass, replace

SIMULATION = "simulation"  # the split under which a domain's simulations are listed


@dataclass(frozen=True)
class Quantity:
    """One measured quantity, such as a domain's headline metric.

    Attributes:
        metric: its name in the tables, such as "cross_entropy".
        split: the rows it is measured on, such as "test", "train" or "synthetic".
        label: its name for a reader, such as "Test cross-entropy".
        unit: its unit, such as "nats per token"; empty for a share or a count.
        logarithmic: whether it is a logarithm, in nats, so that a change of it is a factor.
        role: what it stands for where domains are compared with claims: "diversity", "quality", "reconstruction".
    """

    metric: str
    split: str
    label: str
    unit: str = ""
    logarithmic: bool = False
    role: str = ""

    @property
    def axis(self) -> str:
        """Label and unit, as an axis bears them."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def baseline(self) -> "Quantity":
        """The same quantity of a predictor that learns nothing."""
        return replace(self, split=f"{self.split}-baseline")

    @property
    def exact(self) -> "Quantity":
        """The mean that theory gives for a simulated quantity."""
        return replace(self, split=f"{self.split}-theory")

    @property
    def simulated(self) -> "Quantity":
        """The same quantity of the simulated chains."""
        return replace(self, split=SIMULATION, label=f"{self.label}, simulated")


@dataclass(frozen=True)
class Limit:
    """What a first model must reach before a loop is judged: a quantity that is at most this."""

    quantity: Quantity
    most: float
