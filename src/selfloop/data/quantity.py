"""How measured quantities are named: in the tidy tables, and for readers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantity:
    """One measured quantity, such as a domain's headline metric.

    Attributes:
        metric: its name in the tables, such as "cross_entropy".
        split: the rows it is measured on, such as "test", "train" or "synthetic".
        label: its name for a reader, such as "Test cross-entropy".
        unit: its unit, such as "nats per token"; empty for a share or a count.
    """

    metric: str
    split: str
    label: str
    unit: str = ""

    @property
    def axis(self) -> str:
        """Label and unit, as an axis bears them."""
        return f"{self.label} ({self.unit})" if self.unit else self.label
