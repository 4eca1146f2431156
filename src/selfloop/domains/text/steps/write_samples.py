"""Rule write_samples: the first sampled documents of every model, by regime and iteration (the paper's Table 1)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfloop.analysis.read import REAL_DATA
from selfloop.analysis.show import outputs, write
from selfloop.analysis.tables import samples_page, samples_table
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.jobs.job import Job

READABLE = {"samples": samples_page}


def run(job: Job) -> None:
    """Take some documents from part 0 of every model; regimes share that of iteration 1, which stands there once."""
    asked = job.params["asked"]
    rows: list[tuple[str, str, str, int, int, str]] = []
    firsts: dict[str, Mapping[str, Any]] = {}
    for row in job.params["artifacts"]:
        firsts.setdefault(row["part"], row)
    for part, of in firsts.items():
        batch = next(iterate_rows(shard_paths(Path(part)), ["text"], batch_rows=asked["samples_per_model"]))
        regime = of["regime"] if of["iteration"] > 1 else REAL_DATA
        place = (of["model"], regime, of["sampling"], of["seed"], of["iteration"])
        rows += [(*place, text) for text in batch.column("text").to_pylist()]
    write(iter([("samples", samples_table(rows, asked["sample_characters"]))]), job.params, outputs(job), READABLE)
