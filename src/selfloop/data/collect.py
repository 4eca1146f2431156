"""Rule collect_metrics: all measurements of a study in two tidy tables, and an index of its chains.

A model or part is measured once and listed under every chain that it belongs to: iteration 1 appears under every regime
and sampling that starts from it. Simulations are listed under every experiment that requests them; they have no files,
so they are not in the index.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfloop.data import learning_curve
from selfloop.data.atomic import atomic_file
from selfloop.jobs.job import Job

CHAIN = [
    ("experiment", pa.string()),
    ("domain", pa.string()),
    ("model", pa.string()),
    ("regime", pa.string()),
    ("sampling", pa.string()),
    ("seed", pa.int64()),
    ("iteration", pa.int64()),
]
METRICS = pa.schema(
    [*CHAIN, ("part", pa.int16()), ("split", pa.string()), ("metric", pa.string()), ("value", pa.float64())]
)
CURVES = pa.schema([*CHAIN, *learning_curve.COLUMNS])


def run(job: Job) -> None:
    """Write `metrics`, `learning_curves` and `chains`.

    Params: `chains`, a row per chain and iteration, and `simulations`, a row {experiment, domain, file} each.
    """
    chains = job.params["chains"]
    metrics = pa.Table.from_pylist(list(_metrics(chains)), schema=METRICS)
    metrics = pa.concat_tables([metrics, *map(simulated, job.params["simulations"])])
    curves = pa.Table.from_pylist(list(_curves(chains)), schema=CURVES)
    for table, name in ((metrics, "metrics"), (curves, "learning_curves")):
        with atomic_file(Path(job.output[name])) as scratch:
            pq.write_table(table, scratch, compression="zstd")
        job.log.info("%s: %d rows", job.output[name], table.num_rows)
    with atomic_file(Path(job.output["chains"])) as scratch:
        scratch.write_text(index(chains), encoding="utf-8")


def index(chains: Sequence[Mapping[str, Any]]) -> str:
    """CSV of the model and parts of every chain and iteration."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [name for name, _ in CHAIN] + ["model_folder", "part_folders"], lineterminator="\n")
    writer.writeheader()
    for chain in chains:
        writer.writerow({**chain, "part_folders": " ".join(chain["part_folders"])})
    return text.getvalue()


def _metrics(chains: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for chain in chains:
        columns = {name: chain[name] for name, _ in CHAIN}
        for row in measurements(f"{chain['model_folder']}/measurements.json"):
            yield {**columns, **row}
        for folder in chain["part_folders"]:
            for row in measurements(f"{folder}.measurements.json"):
                yield {**columns, **row}


def _curves(chains: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for chain in chains:
        columns = {name: chain[name] for name, _ in CHAIN}
        for row in curve(f"{chain['model_folder']}/learning_curve.parquet"):
            yield {**columns, **row}


def simulated(simulation: dict[str, str]) -> pa.Table:
    """The rows of a simulation, listed under one experiment."""
    table = pq.read_table(simulation["file"])
    for name in ("experiment", "domain"):
        table = table.append_column(name, pa.repeat(pa.scalar(simulation[name]), table.num_rows))
    table = table.append_column("part", pa.nulls(table.num_rows))
    return table.select(METRICS.names).cast(METRICS)


@cache
def measurements(path: str) -> list[dict[str, Any]]:
    """The rows that an evaluation step wrote."""
    rows: list[dict[str, Any]] = json.loads(Path(path).read_text(encoding="utf-8"))
    return rows


@cache
def curve(path: str) -> list[dict[str, Any]]:
    """The rows of a learning curve."""
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
