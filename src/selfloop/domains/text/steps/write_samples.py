"""Rule write_samples: the first sampled documents of every model, by regime and iteration (the paper's Table 1)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import pandas as pd
from pydantic import BaseModel

from selfloop.analysis.read import REAL_DATA, in_order, names_of, regimes_in_order
from selfloop.analysis.show import Artifact, Asking, outputs
from selfloop.analysis.table import Readable, Table, one_line, plain, save_table
from selfloop.data.quantity import Quantity
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.errors import UserError
from selfloop.jobs.job import Job


class Cut(BaseModel):
    """The config's section `tables`."""

    samples_per_model: int
    sample_characters: int


Params: TypeAlias = Asking[Cut]


def run(job: Job[Params]) -> None:
    """Take some documents of each data set; that of iteration 1 stands under no regime, as all share it.

    Models are named as in figures: with the experiment, where several train the same model.
    """
    asked = job.params.asked
    labels = names_of(pd.DataFrame([of.model_dump() for of in job.params.artifacts], columns=[*Artifact.model_fields]))
    rows = []
    for of in job.params.artifacts:
        batch = next(iterate_rows(shard_paths(Path(of.part)), ["text"], batch_rows=asked.samples_per_model))
        regime = of.regime if of.iteration > 1 else REAL_DATA
        place = (labels[of.experiment, of.model, of.sampling][0], regime, of.sampling, of.iteration, of.seed)
        rows += [(*place, text) for text in batch.column("text").to_pylist()]
    data = samples_table(rows, asked.sample_characters)
    save_table(data, samples_page(data, job.params.headline), outputs(job))


def samples_table(samples: Sequence[tuple[str, str, str, int, int, str]], characters: int = 300) -> pd.DataFrame:
    """Samples of generated text by model, sampling, regime, iteration and seed.

    Args:
        samples: rows (model, regime, sampling, iteration, seed, text).
        characters: the limit; a longer text is cut to it and ends in an ellipsis.

    Returns:
        a row per sample, models and samplings in the order given. The text is not escaped: that is for the page that
        shows it.

    Raises:
        UserError: there is no sample.
    """
    if not samples:
        raise UserError("no sample to show; at least one is needed")
    cut = [(*chain, _cut(plain(text), characters)) for *chain, text in samples]
    frame = pd.DataFrame(cut, columns=["model", "regime", "sampling", "iteration", "seed", "text"])
    ranked = {name: pd.Categorical(frame[name], in_order(frame[name])) for name in ("model", "sampling")}
    ranked["regime"] = pd.Categorical(frame["regime"], regimes_in_order(frame["regime"]))
    order = frame.assign(**ranked).sort_values(["model", "sampling", "regime", "iteration", "seed"], kind="stable")
    return frame.loc[order.index].reset_index(drop=True)


def samples_page(table: pd.DataFrame, _: Quantity) -> Table:
    """`samples_table` to read; a line break shows as " / "."""
    headings = ["Model", "Regime", "Sampling", "Iteration", "Seed", "Sample"]
    return Table(headings, [[one_line(str(cell)) for cell in row] for row in table.fillna("").itertuples(index=False)])


READABLE: Readable = {"samples": samples_page}


def _cut(text: str, characters: int) -> str:
    """The text, or its beginning and an ellipsis: at most `characters` of it (at least 1)."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"
