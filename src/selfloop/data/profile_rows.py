"""What the rule measure_profile is given and writes: one file for the parts of one setting and seed."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from selfloop.data.atomic import atomic_file
from selfloop.data.parquet import FORMAT
from selfloop.jobs.damage import check
from selfloop.jobs.job import Job, StepParams

# `at` says where a measure of many values was taken (a quantile, the middle of a bin); `real` is the same of held-out
# real rows. A part has rows of its own for each part that it follows in a chain.
SCHEMA = pa.schema(
    [
        ("part", pa.string()),
        ("previous", pa.string()),
        ("measure", pa.string()),
        ("at", pa.float64()),
        ("value", pa.float64()),
        ("real", pa.float64()),
    ]
)
Values = Mapping[str, "float | Mapping[float, float]"]  # by measure: a value, or values by `at`


class Link(BaseModel):
    """A part, the one of the iteration before in its chain, and the checkpoint that sampled it (`kept`)."""

    part: str
    previous: str | None
    checkpoint: str
    sampling: dict[str, object]


class Params(StepParams):
    """What the step takes of its params."""

    links: list[Link]


def rows(link: Link, values: Values, real: Values) -> Iterator[dict[str, object]]:
    """The rows of one part; a measure that real rows do not have is NaN of them."""
    place = {"part": link.part, "previous": link.previous}
    for measure, found in values.items():
        theirs = real.get(measure, float("nan"))
        if isinstance(found, Mapping):
            of_real = theirs if isinstance(theirs, Mapping) else dict.fromkeys(found, theirs)
            for at, value in found.items():
                yield {**place, "measure": measure, "at": at, "value": value, "real": of_real.get(at, float("nan"))}
        else:
            yield {**place, "measure": measure, "at": None, "value": found, "real": theirs}


def write_profile(job: Job[Params], measured: Iterable[dict[str, object]]) -> None:
    """Write all rows to `job.output.profile`."""
    table = pa.Table.from_pylist(list(measured), schema=SCHEMA)
    with atomic_file(Path(job.output["profile"])) as scratch:
        pq.write_table(table, scratch, **FORMAT)
    job.log.info("%d parts, %d values", len(job.params.links), table.num_rows)


def kept(job: Job[Params], link: Link) -> Path | None:
    """The checkpoint that sampled a part, or None if it has been deleted: `selfloop prune` leaves the parts alone.

    It is no input, or Snakemake would train a deleted model again for a measurement.

    Raises:
        UserError: it is damaged.
    """
    path = Path(link.checkpoint)
    if not path.exists():
        job.log.info("%s has been deleted: what is measured on the model itself is left out", path)
        return None
    check([path])
    return path
