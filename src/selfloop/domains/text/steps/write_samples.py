"""Rule write_samples: the first sampled documents of every model, by regime and iteration (the paper's Table 1)."""

from pathlib import Path

from selfloop.analysis.tables import samples_markdown, samples_table, write_table
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.jobs.job import Job


def run(job: Job) -> None:
    """Take `params.per_model` documents from each of `params.parts`."""
    rows = []
    for part in job.params["parts"]:
        batch = next(iterate_rows(shard_paths(Path(part["folder"])), ["text"], batch_rows=job.params["per_model"]))
        place = [part[key] for key in ("model", "regime", "sampling", "seed", "iteration")]
        rows += [(*place, text) for text in batch.column("text").to_pylist()]
    table = samples_table(rows, job.params["characters"])
    write_table(table, samples_markdown(table), Path(job.output["samples"]).with_suffix(""))
