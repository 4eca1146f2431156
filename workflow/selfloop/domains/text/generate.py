"""Rule generate: sample one part, one document for each real one."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from selfloop.devices import cache_precision, choose_precision, prepare_torch
from selfloop.domains.text.checkpoint import load_checkpoint
from selfloop.domains.text.sampler import sample
from selfloop.domains.text.tokens import END_OF_TEXT_ID, SCHEMA, TokenStore
from selfloop.errors import UserError
from selfloop.job import Job
from selfloop.shards import ShardWriter, count_rows, iterate_rows, shard_paths
from selfloop.whole import whole_folder


def run(job: Job) -> None:
    """Sample from `job.input.checkpoint` as many documents as the real train split has."""
    device = prepare_torch(job.threads)
    sampling = job.params["sampling"]
    real = Path(job.input["real"])
    if sampling["prompt"] == "first-token":
        store = TokenStore.in_memory(iterate_rows(shard_paths(real), ["input_ids"]), longest=2)
        prompts = torch.from_numpy(np.stack([store[row] for row in range(len(store))]).astype(np.int64))
    else:
        prompts = torch.full((count_rows(real), 1), END_OF_TEXT_ID)
    checkpoint = Path(job.input["checkpoint"])
    model = load_checkpoint(checkpoint, choose_precision(job.params["precision"], device), str(device))
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    with job.progress(desc="sample", unit=" tokens", unit_scale=True) as bar:
        documents = sample(
            model,
            prompts.to(device),
            sampling,
            job.params["identity"],
            bar.update,
            cache_format=cache_precision(job.params["precision"]),
        )
    ended = sum(len(ids) > 1 and ids[-1] == END_OF_TEXT_ID for ids in documents)
    empty = sum(len(ids) <= 2 for ids in documents)
    sampled = sum(map(len, documents)) - prompts.numel()
    job.log.info(
        "%d documents, %s tokens sampled; %d ended, %d were cut at the maximum length, %d are empty",
        len(documents), f"{sampled:,}", ended, len(documents) - ended, empty,
    )  # fmt: skip
    if empty == len(documents):
        raise UserError(f"{checkpoint} sampled nothing but empty documents; the model has not learnt to write.")
    with whole_folder(Path(job.output["part"])) as scratch, ShardWriter(scratch, SCHEMA) as writer:
        texts = tokenizer.decode_batch([ids.tolist() for ids in documents], skip_special_tokens=True)
        for row, (text, ids) in enumerate(zip(texts, documents, strict=True)):
            place = {"iteration": job.params["iteration"], "part": job.params["part"], "row": row}
            writer.append({"text": text, "input_ids": ids.tolist(), **place})
