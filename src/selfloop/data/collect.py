"""Rule collect_metrics: all measurements of a study in three tidy tables, and an index of its chains.

A model or part is measured once and listed under every chain that it belongs to: iteration 1 appears under every regime
and sampling that starts from it, and the predictor that learns nothing as iteration 0. Simulations are listed under
every experiment that requests them; they have no files, so they are not in the index.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import TypedDict

from selfloop.data.atomic import atomic_file
from selfloop.data.parquet import FORMAT
from selfloop.data.tidy import CHAIN, CURVES, METRICS, PROFILE
from selfloop.jobs.job import Job, StepParams
from selfloop.jobs.steps import has_step

Rows = list[dict[str, object]]
Usable = Callable[[Callable[[str], object], str], bool]
File = tuple[int, str]  # the iteration that its rows are listed under, and the path


class ChainRow(TypedDict):
    """A chain at one iteration: what the tidy tables call it, and its files, as `planning.study` has it.

    Attributes:
        baseline: the file of the measurements of a predictor that learns nothing, or None.
        model_folder: of its model.
        part_folders: of what this model sampled.
        profile: the file of its collapse profile, or None.
        filtered: whether a filter chose rows of its training set.
    """

    experiment: str
    domain: str
    model: str
    regime: str
    sampling: str
    seed: int
    iteration: int
    baseline: str | None
    model_folder: str
    part_folders: list[str]
    profile: str | None
    filtered: bool


class Params(StepParams):
    """A row per chain and iteration, as `planning.study` has them, and {experiment, domain, file} per simulation."""

    chains: list[ChainRow]
    simulations: list[dict[str, str]]


def run(job: Job[Params]) -> None:
    """Write `metrics`, `learning_curves`, `profile` and `chains`."""
    chains = job.params.chains
    found = (*tables(chains, job.params.simulations), profile(chains))
    for name, table in zip(("metrics", "learning_curves", "profile"), found, strict=True):
        with atomic_file(Path(job.output[name])) as scratch:
            pq.write_table(table, scratch, **FORMAT)
        job.log.info("%s: %d rows", job.output[name], table.num_rows)
    with atomic_file(Path(job.output["chains"])) as scratch:
        scratch.write_text(index(chains), encoding="utf-8")


def index(chains: Sequence[ChainRow]) -> str:
    """CSV of the model and parts of every chain and iteration."""
    text = io.StringIO()
    names = [*CHAIN.names, "model_folder"]
    writer = csv.DictWriter(text, [*names, "part_folders"], lineterminator="\n")
    writer.writeheader()
    for chain in chains:
        held = {name: value for name, value in chain.items() if name in names}
        writer.writerow(held | {"part_folders": " ".join(chain["part_folders"])})
    return text.getvalue()


def tables(
    chains: Sequence[ChainRow],
    simulations: Sequence[Mapping[str, str]],
    usable: Usable = lambda load, path: True,
) -> tuple[pa.Table, pa.Table]:
    """The metrics and the learning curves, of the files that `usable(load, path)` does not leave out."""

    def rows(
        load: Callable[[str], Rows], files: Callable[[ChainRow], Iterable[tuple[int, str]]]
    ) -> Iterator[dict[str, object]]:
        for chain in chains:
            for iteration, path in files(chain):
                place = {**_named(chain), "iteration": iteration}
                yield from ({**place, **row} for row in (load(path) if usable(load, path) else []))

    def measured(chain: ChainRow) -> Iterator[File]:
        if chain["iteration"] == 1 and chain["baseline"] is not None:
            yield 0, chain["baseline"]
        yield from ((chain["iteration"], path) for path in measurement_files(chain))

    def filtered(chain: ChainRow) -> Iterator[File]:
        if chain["filtered"]:
            yield chain["iteration"], f"{chain['model_folder']}/training-set/manifest.json"

    found = [*rows(measurements, measured), *rows(kept, filtered)]
    metrics = pa.Table.from_pylist(found, schema=METRICS)
    simulated = [_simulated(each) for each in simulations if usable(pq.read_table, each["file"])]
    curves = pa.Table.from_pylist(
        list(rows(curve, lambda chain: [(chain["iteration"], curve_file(chain))])), schema=CURVES
    )
    return pa.concat_tables([metrics, *simulated]), curves


def _named(chain: ChainRow) -> dict[str, object]:
    """What the tidy tables call it."""
    return {name: value for name, value in chain.items() if name in CHAIN.names}


def profile(chains: Sequence[ChainRow], usable: Usable = lambda load, path: True) -> pa.Table:
    """How the parts of all chains differ from real data, of the files that `usable(load, path)` does not leave out."""
    found: list[pa.Table] = []
    before: str | None = None
    for chain in chains:
        part = chain["part_folders"][0]
        before = before if chain["iteration"] > 1 else None
        if chain["profile"] is not None and usable(_by_link, chain["profile"]):
            own = _by_link(chain["profile"]).get((part, before))
            if own is not None:
                for name, value in reversed(_named(chain).items()):
                    own = own.add_column(0, name, pa.repeat(pa.scalar(value), own.num_rows))
                found.append(own.select(PROFILE.names).cast(PROFILE))
        before = part
    return pa.concat_tables(found) if found else PROFILE.empty_table()


@cache
def _by_link(path: str) -> dict[tuple[str, str | None], pa.Table]:
    """The rows of a profile, by part and the one before."""
    table = pq.read_table(path)
    keys = list(zip(table["part"].to_pylist(), table["previous"].to_pylist(), strict=True))
    starts = [index for index, key in enumerate(keys) if index == 0 or keys[index - 1] != key]
    ends = [*starts[1:], len(keys)]
    return {keys[start]: table.slice(start, end - start) for start, end in zip(starts, ends, strict=True)}


def measurement_files(chain: ChainRow) -> list[str]:
    """What was measured of a chain's model, and of its parts."""
    parts = chain["part_folders"] if has_step(chain["domain"], "evaluate_part") else []
    return [f"{chain['model_folder']}/measurements.json", *(f"{folder}.measurements.json" for folder in parts)]


def curve_file(chain: ChainRow) -> str:
    """The learning curve of a chain's model."""
    return f"{chain['model_folder']}/learning_curve.parquet"


def _simulated(simulation: Mapping[str, str]) -> pa.Table:
    """The rows of a simulation, listed under one experiment."""
    table = pq.read_table(simulation["file"])
    for name in ("experiment", "domain"):
        table = table.append_column(name, pa.repeat(pa.scalar(simulation[name]), table.num_rows))
    table = table.append_column("part", pa.nulls(table.num_rows))
    return table.select(METRICS.names).cast(METRICS)


@cache
def measurements(path: str) -> Rows:
    """The rows that an evaluation step wrote."""
    rows: Rows = json.loads(Path(path).read_text(encoding="utf-8"))
    return rows


@cache
def kept(path: str) -> Rows:
    """Of the manifest of a training set, as split "training": the share of the candidates that its filters have kept.

    And, of a single filter, the mean scores of its candidates and of the kept ones, and the share beyond a threshold.
    """
    filters = json.loads(Path(path).read_text(encoding="utf-8"))["filters"]
    rows = sum(each["kept"] for each in filters)
    values = {"share_kept": rows / sum(each["candidates"] for each in filters)}
    names = {"score": "candidate_score", "kept_score": "kept_score", "passing": "share_passing"}
    if len({each["filter"] for each in filters}) == 1:
        for key in [name for name in names if name in filters[0]]:
            values[names[key]] = sum(each["kept"] * each[key] for each in filters) / rows
    return [{"part": None, "split": "training", "metric": metric, "value": value} for metric, value in values.items()]


@cache
def curve(path: str) -> Rows:
    """The rows of a learning curve."""
    rows: Rows = pq.read_table(path).to_pylist()
    return rows
