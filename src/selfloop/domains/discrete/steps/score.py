"""Rule score: the reward of each word, and what all domains have."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from selfloop.config.section import given
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.discrete.model import UNIFORM, load_checkpoint
from selfloop.domains.discrete.rows import Array
from selfloop.jobs.job import Job
from selfloop.scoring.detector import of_words
from selfloop.scoring.scores import ScoreParams as Params
from selfloop.scoring.scores import score_part


def run(job: Job[Params]) -> None:
    """Write the scores of all rows."""
    score_part(job, lambda folder: of_words([[word] for word in _words(folder).to_pylist()]), lambda: _own(job))


def _own(job: Job[Params]) -> Array:
    """The reward of every row's word, 0 for words that have none; or the logarithm of its frequency by a referee.

    A hundredth of the uniform distribution is mixed into the referee's, as where the loss is measured.
    """
    words = _words(Path(job.input["part"])).dictionary_encode()
    types = words.dictionary.to_pylist()
    if job.params.scorer.by == "reward":
        rewards = given(job.params.scorer.rewards)
        values = np.array([rewards.get(word, 0.0) for word in types])
    else:
        referee = load_checkpoint(Path(job.input["checkpoint"]))
        frequencies = dict(zip(referee.types, referee.probabilities(), strict=True))
        p = np.array([frequencies.get(word, 0.0) for word in types])
        values = np.log((1 - UNIFORM) * p + UNIFORM / len(referee.types))
    return np.asarray(values[words.indices.to_numpy()])


def _words(folder: Path) -> pa.Array:
    columns = [batch.column("word") for batch in iterate_rows(shard_paths(folder), ["word"])]
    return pa.chunked_array(columns, pa.string()).combine_chunks()
