"""Rule score: the reward of each word."""

from pathlib import Path

from selfloop.config.section import given
from selfloop.data.scores import ScoreParams as Params
from selfloop.data.scores import write_scores
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.jobs.job import Job


def run(job: Job[Params]) -> None:
    """Write the reward of every row's word; 0 for words that have none."""
    rewards = given(job.params.scorer.rewards)
    batches = iterate_rows(shard_paths(Path(job.input["part"])), ["word"])
    write_scores(job, [rewards.get(word, 0.0) for batch in batches for word in batch.column("word").to_pylist()])
