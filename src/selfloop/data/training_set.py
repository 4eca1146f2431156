"""A training set on disk: symbolic links to shards, and a manifest of the rows taken from them.

    training-set/
        manifest.json              total rows; per shard its rows, how many are taken, the file of their indices, and,
                                   where weights differ, the weight of each of them in the loss; of filters, how many
                                   of their candidates they have kept
        shards/00000.parquet …     links to existing shards; the folder opens in pandas, polars, DuckDB, datasets
        selection/00001.parquet …  indices of the rows taken, for shards that are not taken whole

No row is ever copied, except where no links can be made: n accumulated iterations cost n shards, not n(n+1)/2.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from selfloop.config.section import given
from selfloop.data.atomic import atomic_folder
from selfloop.data.choice import Choice, Scores, beyond, choose, read_scores
from selfloop.data.parquet import FORMAT
from selfloop.data.shards import ROWS_PER_GROUP, count_rows, shard_paths
from selfloop.errors import UserError
from selfloop.identity import stream
from selfloop.jobs.job import Job, StepParams
from selfloop.links import log_copies, relative_link


class Take(BaseModel):
    """Rows taken from one input folder; amount and skip in multiples of the real train rows. See `regimes.Take`."""

    iteration: int
    part: int
    amount: float
    skip: float
    weight: float
    filter: Choice | None
    fresh: bool = False
    same: bool = False


class Params(StepParams):
    """What the step takes of its params; the budget is in multiples of the rows of `real`.

    `streams` are those of the model. `chain_streams`, the same at all iterations of a chain, draw fresh rows and those
    that stay the same.
    """

    streams: str
    chain_streams: str | None = None
    takes: list[Take]
    budget: float | None


def run(job: Job[Params]) -> None:
    """Rule concatenate: select the rows of one training set.

    Raises:
        UserError: an input folder or the training set is empty, or too few fresh rows are left.
    """
    folders = [Path(folder) for folder in job.input["parts"]]
    streams = job.params.streams
    real = count_rows(Path(job.input["real"]))
    masks: list[np.ndarray] = []
    scores = [Path(file) for file in job.input.get("scores", [])]
    pool: list[tuple[Take, int, Scores | None]] = []  # candidates of one choice
    drawn: Counter[tuple[int, int]] = Counter()
    chosen: list[dict[str, object]] = []
    takes = job.params.takes
    for place, (folder, take) in enumerate(zip(folders, takes, strict=True)):
        rows = count_rows(folder)
        if rows == 0:
            raise UserError(f"{folder} has no rows; it cannot become training data.")
        if take.filter is not None:
            pool.append((take, rows, None if take.filter.random else read_scores(scores.pop(0))))
            if not _continues(take, takes[place + 1 :]):
                seed = stream(streams, f"rows of iteration {take.iteration}, chosen from data set {len(masks)} on")
                masks += _chosen(pool, real, take.filter, seed)
                chosen.append(_summary(pool, masks[-len(pool) :], take.filter))
                pool = []
            continue
        if take.fresh:
            masks.append(_fresh(folder, rows, take, real, stream(given(job.params.chain_streams), "fresh rows")))
            continue
        origin = take.iteration, take.part
        purpose = f"rows of iteration {take.iteration}, part {take.part}, draw {drawn[origin]}"
        drawn[origin] += take.amount < 1
        drawn_by = given(job.params.chain_streams) if take.same else streams
        masks.append(_draw(rows, take.amount, stream(drawn_by, purpose)))
    if job.params.budget is not None:
        masks = _limit(masks, round(job.params.budget * real), stream(streams, "budget"))
    if not any(mask.any() for mask in masks):
        raise UserError(
            f"{job.output['training_set']} takes no row of its {len(folders)} data sets; raise the amounts."
        )
    weights = _weights([take.weight for take in job.params.takes], masks)
    with atomic_folder(Path(job.output["training_set"])) as scratch:
        shards = list(_link(folders, masks, weights, scratch, Path(job.output["training_set"])))
        total = sum(taken for _, taken in shards)
        manifest = {"rows": total, "shards": [shard for shard, _ in shards], **({"filters": chosen} if chosen else {})}
        (scratch / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    job.log.info("%d rows from %d shards of %d data sets", total, len(shards), len(folders))


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


def weights(folder: Path) -> np.ndarray | None:
    """The weight in the loss of each row of a training set, float64, with mean 1; None where all weights are 1."""
    shards = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["shards"]
    if "weight" not in shards[0]:
        return None
    return np.repeat([shard["weight"] for shard in shards], [shard["taken"] for shard in shards])


def _draw(count: int, amount: float, seed: int) -> np.ndarray:
    """Mask of the rows that a take selects of `count`; a fraction is drawn, and a larger one has those of a smaller."""
    wanted = round(amount * count)
    if wanted >= count:
        return np.ones(count, dtype=bool)
    mask = np.zeros(count, dtype=bool)
    mask[np.random.default_rng(seed).permutation(count)[:wanted]] = True
    return mask


def _chosen(pool: list[tuple[Take, int, Scores | None]], real: int, how: Choice, seed: int) -> list[np.ndarray]:
    """Masks of the rows that a filter chooses of its candidates: takes with the rows and scores of their data sets."""
    takes, counts, scores = (list(each) for each in zip(*pool, strict=True))
    wanted = round(sum(take.amount for take in takes) * real)
    mask = choose(scores, counts, wanted, real, how, seed)
    return list(np.split(mask, np.cumsum(counts)[:-1]))


def _summary(pool: list[tuple[Take, int, Scores | None]], masks: list[np.ndarray], how: Choice) -> dict[str, object]:
    """How many of its candidates a filter has kept, and their mean scores, as the verifier gives them."""
    kept = int(sum(mask.sum() for mask in masks))
    found: dict[str, object] = {
        "filter": how.name,
        "random": how.random,
        "candidates": min(sum(count for _, count, _ in pool), max(kept, round(kept * how.candidates))),
        "kept": kept,
    }
    scores = [own for _, _, own in pool if own is not None]
    if scores:
        everything = np.concatenate(scores)
        found |= {"score": float(everything.mean()), "kept_score": float(everything[np.concatenate(masks)].mean())}
        if how.threshold is not None:
            found["passing"] = float(beyond(everything, how).mean())
    return found


def _continues(take: Take, following: list[Take]) -> bool:
    """Whether the next take holds further candidates of the same choice."""
    if not following or following[0].filter is None:
        return False
    return following[0].iteration == take.iteration and following[0].part == take.part + 1


def _fresh(folder: Path, count: int, take: Take, real: int, seed: int) -> np.ndarray:
    """Mask of the rows that a take selects of the `count` of a reserve, in an order of the chain's own.

    Raises:
        UserError: there are too few.
    """
    first, end = round(take.skip * real), round((take.skip + take.amount) * real)
    if end > count:
        raise UserError(f"{folder} has {count:,} rows, and {end:,} are needed up to here; raise data.reserve.")
    mask = np.zeros(count, dtype=bool)
    mask[np.random.default_rng(seed).permutation(count)[first:end]] = True
    return mask


def _weights(weights: list[float], masks: list[np.ndarray]) -> list[float | None]:
    """The weight of the rows of each take, with mean 1 over all rows; None where all are alike."""
    counts = [int(mask.sum()) for mask in masks]
    if len({weight for weight, count in zip(weights, counts, strict=True) if count}) == 1:
        return [None] * len(weights)
    mean = sum(weight * count for weight, count in zip(weights, counts, strict=True)) / sum(counts)
    return [weight / mean for weight in weights]


def _limit(masks: list[np.ndarray], limit: int, seed: int) -> list[np.ndarray]:
    """Subsample the selected rows to `limit`, uniformly without replacement."""
    chosen = np.flatnonzero(np.concatenate(masks))
    if len(chosen) <= limit:
        return masks
    kept = np.zeros(sum(map(len, masks)), dtype=bool)
    kept[np.random.default_rng(seed).choice(chosen, size=limit, replace=False)] = True
    return np.split(kept, np.cumsum([len(mask) for mask in masks])[:-1])


def _link(
    folders: list[Path], masks: list[np.ndarray], weights: list[float | None], scratch: Path, final: Path
) -> Iterator[tuple[dict[str, object], int]]:
    """Link the shards; for each, its entry of the manifest, and how many rows are taken."""
    (scratch / "shards").mkdir()
    number, copied = 0, []
    for folder, mask, weight in zip(folders, masks, weights, strict=True):
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
            shard = {"file": f"shards/{name}", "rows": count, "taken": int(taken.sum()), "selection": selection}
            yield (shard if weight is None else {**shard, "weight": weight}), int(taken.sum())
            number += 1
    log_copies(copied)
