"""Rule generate: sample one part, one document for each real one.

Several processes (one per GPU, under torchrun) may share a part: each samples a run of its slices, and the part is the
same whatever their number.
"""

import shutil
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from selfloop.data.atomic import whole_folder
from selfloop.data.shards import ShardWriter, count_rows, iterate_rows, join_shards, shard_paths
from selfloop.domains.text.data.tokens import END_OF_TEXT_ID, SCHEMA, TokenStore, vocabulary_size
from selfloop.domains.text.sampling import torch_engine, vllm_engine
from selfloop.domains.text.sampling.engine import Request
from selfloop.domains.text.sampling.sampler import share_of
from selfloop.errors import UserError
from selfloop.jobs.job import Job
from selfloop.training.devices import prepare_torch
from selfloop.training.distributed import Group, joined

DECODED_TOGETHER = 10_000


def run(job: Job) -> None:
    """Sample from `job.input.checkpoint` as many documents as the real train split has."""
    device = prepare_torch(job.threads, job.gpus)
    with joined(device) as group:
        if group.size > 1 and job.params["sampling"]["engine"] != "torch":
            raise UserError("engine vllm samples a part in one process; ask for one GPU or take the engine torch.")
        shares = [Path(f"{job.output['part']}.share{rank}") for rank in range(group.size)]
        try:
            # On the device: GPUs that share a part add up what lies on them, and nothing else.
            counts = sample_share(job, group, shares[group.rank]).to(device)
            group.add(counts)
            check(job, *counts.tolist())
            job.did(int(counts[1]), "tokens")
            if group.leads:
                with whole_folder(Path(job.output["part"])) as scratch:
                    join_shards(shares, scratch)
            group.wait()
        finally:
            shutil.rmtree(shares[group.rank], ignore_errors=True)


def check(job: Job, count: int, tokens: int, ended: int, empty: int) -> None:
    """See to it that the part is of use.

    Raises:
        UserError: not one of its documents has ended, or all are empty.
    """
    job.log.info(
        "%d documents, %s tokens; %d ended, %d were cut at the maximum length, %d are empty",
        count, f"{tokens:,}", ended, count - ended, empty,
    )  # fmt: skip
    if empty == count:
        raise UserError(
            f"{job.input['checkpoint']} sampled nothing but empty documents; the model has not learnt to write."
        )
    if not ended and not job.params["sampling"]["allow_unended"]:
        raise UserError(
            f"{job.input['checkpoint']}: none of the {count} sampled documents reached its end within "
            f"sampling.max_length ({job.params['sampling']['max_length'] or 'the context'}); train longer, allow "
            "longer documents, or set sampling.allow_unended."
        )


def sample_share(job: Job, group: Group, folder: Path) -> torch.Tensor:
    """Sample this process's rows of the part into `folder`.

    Returns:
        int64 [4]: documents, tokens, documents that ended, and documents without a token but the prompt's.

    Raises:
        UserError: the checkpoint's tokenizer is another model's.
    """
    sampling, real, checkpoint = job.params["sampling"], Path(job.input["real"]), Path(job.input["checkpoint"])
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    if tokenizer.get_vocab_size() > vocabulary_size(checkpoint):
        raise UserError(
            f"{checkpoint}: its tokenizer has {tokenizer.get_vocab_size()} tokens, and its model a vocabulary of "
            f"{vocabulary_size(checkpoint)}; they do not belong together."
        )
    in_all = count_rows(real)
    rows = share_of(in_all, group.rank, group.size)
    if sampling["prompt"] == "first-token":
        store = TokenStore.in_memory(iterate_rows(shard_paths(real), ["input_ids"]), longest=2)
        prompts = np.array([store[row] for row in rows], dtype=np.int64).reshape(len(rows), 2)
    else:
        prompts = np.full((len(rows), 1), END_OF_TEXT_ID, dtype=np.int64)
    engine = torch_engine if sampling["engine"] == "torch" else vllm_engine
    with job.progress(desc="sample", unit=" tokens", unit_scale=True) as bar:
        request = Request(
            checkpoint,
            prompts,
            sampling,
            job.params["identity"],
            job.params["precision"],
            job.threads,
            job.gpus,
            bar.update,
            job.log,
            rows.start,
            in_all,
        )
        return write_documents(job, engine.sample(request), rows, prompts.shape[1], tokenizer, folder)


def write_documents(
    job: Job, documents: Iterable[np.ndarray], rows: range, given: int, tokenizer: Tokenizer, folder: Path
) -> torch.Tensor:
    """Write documents as they come, each with `given` tokens of prompt; returns the counts of `sample_share`."""
    tokens = ended = empty = 0
    place = {"iteration": job.params["iteration"], "part": job.params["part"]}
    numbers, remaining = iter(rows), iter(documents)
    with whole_folder(folder) as scratch, ShardWriter(scratch, SCHEMA) as writer:
        while some := list(islice(remaining, DECODED_TOGETHER)):
            texts = tokenizer.decode_batch([ids.tolist() for ids in some], skip_special_tokens=True)
            for text, ids in zip(texts, some, strict=True):
                writer.append({"text": text, "input_ids": ids.tolist(), **place, "row": next(numbers)})
                ends = len(ids) > 1 and bool(ids[-1] == END_OF_TEXT_ID)
                tokens += len(ids)
                ended += ends
                empty += len(ids) - ends <= given
    return torch.tensor([len(rows), tokens, ended, empty])
