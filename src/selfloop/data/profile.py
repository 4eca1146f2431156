"""What tells the phenomena apart that are all called collapse, and by which measures a domain does. Light."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A measure of sampled rows, beside the same of as many held-out real rows.

    Attributes:
        name: its name in the tables.
        label: its name for a reader.
        unit: its unit; empty for a share or a count.
        logarithmic: whether it is a logarithm, in nats, so that a change of it is a factor.
        floor, ceiling: what it cannot leave; None where there is no such limit.
        even: a value between two meanings, which figures mark: κ = 1, an error that is carried on whole.
    """

    name: str
    label: str
    unit: str = ""
    logarithmic: bool = False
    floor: float | None = None
    ceiling: float | None = None
    even: float | None = None


@dataclass(frozen=True)
class Remark:
    """What the page says beside the words where a measure is not 0.

    Attributes:
        measure: a share.
        text: a sentence without its full stop.
        values: whether the shares follow it.
    """

    measure: str
    text: str
    values: bool = True


@dataclass(frozen=True)
class Profile:
    """What a domain decides the phenomena by.

    Attributes:
        spread: how varied samples are; it falls in modal collapse, and rises towards uniformity.
        recall: how much of the real data samples reach; it falls in modal collapse. None where samples have no such
            thing.
        flat: what else rises towards uniformity.
        like: what falls towards uniformity: how much samples are like real data. None where there is no such thing.
        carried: κ, the share of one iteration's error that the next one has, too. None where it is not measured. The
            measure of its name and "_weight" is the earlier error's square, by which iterations are weighted: where
            there is hardly an error, κ is noise.
        narrower, wider: what samples do whose spread falls or rises, such as "lose variety" and "become more random".
        remarks: on what is left out of the measures.
    """

    spread: Measure
    recall: Measure | None
    flat: tuple[Measure, ...]
    like: Measure | None
    carried: Measure | None
    narrower: str = "lose variety"
    wider: str = "spread out"
    remarks: tuple[Remark, ...] = ()
