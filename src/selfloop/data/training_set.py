"""A training set on disk: symbolic links to shards, and a manifest of the rows taken from them.

    training-set/
        manifest.json              total rows; per shard its rows, how many are taken, and the file of their indices
        shards/00000.parquet …     links to existing shards; the folder opens in pandas, polars, DuckDB, datasets
        selection/00001.parquet …  indices of the rows taken, for shards that are not taken whole

No row is ever copied, except where no links can be made: n accumulated iterations cost n shards, not n(n+1)/2.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from selfloop.data.atomic import atomic_folder
from selfloop.data.parquet import FORMAT
from selfloop.data.shards import ROWS_PER_GROUP, count_rows, shard_paths
from selfloop.errors import UserError
from selfloop.identity import stream
from selfloop.jobs.job import Job, StepParams
from selfloop.links import log_copies, relative_link


class Take(BaseModel):
    """Rows taken from one input folder; amount and skip in multiples of its rows. See `regimes.Take`."""

    iteration: int
    part: int
    amount: float
    skip: float
    weight: float
    filter: str | None


class Params(StepParams):
    """What the step takes of its params; the budget is in multiples of the rows of `real`."""

    streams: str
    takes: list[Take]
    budget: float | None


def run(job: Job[Params]) -> None:
    """Rule concatenate: select the rows of one training set.

    Raises:
        UserError: an input folder or the training set is empty.
    """
    folders = [Path(folder) for folder in job.input["parts"]]
    streams = job.params.streams
    masks = []
    drawn: Counter[tuple[int, int]] = Counter()
    for folder, take in zip(folders, job.params.takes, strict=True):
        rows = count_rows(folder)
        if rows == 0:
            raise UserError(f"{folder} has no rows; it cannot become training data.")
        if take.weight != 1 or take.filter is not None:
            raise ValueError("weight and filter of a take are not implemented")
        origin = take.iteration, take.part
        purpose = f"rows of iteration {take.iteration}, part {take.part}, draw {drawn[origin]}"
        drawn[origin] += take.amount < 1
        masks.append(_draw(rows, take.amount, take.skip, stream(streams, purpose)))
    if job.params.budget is not None:
        limit = round(job.params.budget * count_rows(Path(job.input["real"])))
        masks = _limit(masks, limit, stream(streams, "budget"))
    if not any(mask.any() for mask in masks):
        raise UserError(
            f"{job.output['training_set']} takes no row of its {len(folders)} data sets; raise the amounts."
        )
    with atomic_folder(Path(job.output["training_set"])) as scratch:
        shards = list(_link(folders, masks, scratch, Path(job.output["training_set"])))
        manifest = {"rows": sum(shard["taken"] for shard in shards), "shards": shards}
        (scratch / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    job.log.info("%d rows from %d shards of %d data sets", manifest["rows"], len(shards), len(folders))


def rows(folder: Path, columns: Sequence[str], batch_rows: int = ROWS_PER_GROUP) -> Iterator[pa.RecordBatch]:
    """The rows of a training set in order, as non-empty record batches of the named columns."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for shard in manifest["shards"]:
        chosen = None
        if shard["selection"] is not None:
            chosen = pq.read_table(folder / shard["selection"]).column("row").to_numpy()
        seen = 0
        with pq.ParquetFile(folder / shard["file"]) as file:
            for batch in file.iter_batches(batch_size=batch_rows, columns=list(columns)):
                if chosen is None:
                    yield batch
                else:
                    inside = chosen[(chosen >= seen) & (chosen < seen + batch.num_rows)] - seen
                    if len(inside):
                        yield batch.take(pa.array(inside))
                seen += batch.num_rows


def _draw(count: int, amount: float, skip: float, seed: int) -> np.ndarray:
    """Mask of the rows that a take selects of `count`; a fraction is drawn, and a larger one has those of a smaller."""
    mask = np.zeros(count, dtype=bool)
    first = round(skip * count)
    wanted = round(amount * count)
    if wanted >= count - first:
        mask[first:] = True
    else:
        mask[first + np.random.default_rng(seed).permutation(count - first)[:wanted]] = True
    return mask


def _limit(masks: list[np.ndarray], limit: int, seed: int) -> list[np.ndarray]:
    """Subsample the selected rows to `limit`, uniformly without replacement."""
    chosen = np.flatnonzero(np.concatenate(masks))
    if len(chosen) <= limit:
        return masks
    kept = np.zeros(sum(map(len, masks)), dtype=bool)
    kept[np.random.default_rng(seed).choice(chosen, size=limit, replace=False)] = True
    return np.split(kept, np.cumsum([len(mask) for mask in masks])[:-1])


def _link(folders: list[Path], masks: list[np.ndarray], scratch: Path, final: Path) -> Iterator[dict[str, Any]]:
    (scratch / "shards").mkdir()
    number, copied = 0, []
    for folder, mask in zip(folders, masks, strict=True):
        begin = 0
        for path in shard_paths(folder):
            count = pq.read_metadata(path).num_rows
            taken = mask[begin : begin + count]
            begin += count
            name = f"{number:05d}.parquet"
            copied.append(relative_link(path, scratch / "shards" / name, final / "shards"))
            selection = None
            if not taken.all():
                selection = f"selection/{name}"
                (scratch / "selection").mkdir(exist_ok=True)
                numbers = pa.table({"row": pa.array(np.flatnonzero(taken), type=pa.int64())})
                pq.write_table(numbers, scratch / selection, **FORMAT)
            yield {"file": f"shards/{name}", "rows": count, "taken": int(taken.sum()), "selection": selection}
            number += 1
    log_copies(copied)
