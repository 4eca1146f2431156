"""Rule generate: sample one part, one document for each real one.

Several processes (one per GPU) may share a part: each samples consecutive slices, and the part does not
depend on their number. Finished slices are kept until the part is evaluated: a killed sampling resumes from them.
"""

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from selfloop.data.shards import ShardWriter, count_rows, iterate_rows, shard_paths
from selfloop.domains.text.config import Data, Sampling
from selfloop.domains.text.data.token_store import COLUMNS, PROMPTED, SCHEMA, TokenStore
from selfloop.domains.text.data.tokenizer import OWN_MARKS, Marks, marks_of, vocabulary_size
from selfloop.domains.text.model.checkpoint import context_of
from selfloop.domains.text.model.pretrained import is_pretrained
from selfloop.domains.text.sampling import torch_engine, transformers_engine, vllm_engine
from selfloop.domains.text.sampling.engine import Request
from selfloop.domains.text.sampling.sampler import share_of, slices
from selfloop.errors import UserError
from selfloop.jobs.job import Job, StepParams
from selfloop.training.devices import note_device, prepare_torch
from selfloop.training.distributed import ProcessGroup, process_group, rank_folder
from selfloop.training.slices import FinishedSlices, of_part

DECODED_TOGETHER = 10_000


class Params(StepParams):
    """What the step takes of its params."""

    data: Data | None = None
    sampling: Sampling
    precision: str
    streams: str
    iteration: int
    part: int
    state: str | None = None


def run(job: Job[Params]) -> None:
    """Sample from `job.input.checkpoint` as many documents as the real train split has."""
    if job.params.sampling.engine == "torch":
        device = prepare_torch(job.threads, job.gpus, strict=False)
    else:  # vLLM has a process of its own, and a context in this one would take some of its GPU's memory
        device = torch.device("cpu")
    with process_group(device) as group:
        if group.size > 1 and job.params.sampling.engine != "torch":
            raise UserError("engine vllm samples a part in one process; ask for one GPU or take the engine torch.")
        with rank_folder(Path(job.output["part"]), group) as folder:
            finished = of_part(job, job.params.state, len(slices(count_rows(Path(job.input["real"])))))
            counts = sample_share(job, group, folder, finished).to(device)  # NCCL reduces tensors on the GPU only
            group.all_reduce(counts)
            check(job, *counts.tolist())
            if not finished.reused:
                job.did(int(counts[1]), "tokens")


def check(job: Job[Params], count: int, tokens: int, ended: int, empty: int) -> None:
    """Log the counts of a part, and refuse one that is useless as training data.

    Raises:
        UserError: no document ended, or all are empty.
    """
    job.log.info(
        "%d documents, %s tokens; %d ended, %d truncated at max_length, %d empty",
        count, f"{tokens:,}", ended, count - ended, empty,
    )  # fmt: skip
    if empty == count:
        raise UserError(
            f"{job.input['checkpoint']} sampled nothing but empty documents; the model has not learnt to write."
        )
    sampling = job.params.sampling
    # Most pieces and continuations do not end.
    pieces = sampling.continuation is not None or (job.params.data is not None and job.params.data.piece is not None)
    if not ended and not pieces and not sampling.allow_unended:
        raise UserError(
            f"{job.input['checkpoint']}: none of the {count} sampled documents reached its end within "
            f"sampling.max_length ({sampling.max_length or 'the context'}); train longer, allow "
            "longer documents, or set sampling.allow_unended."
        )


def sample_share(
    job: Job[Params], group: ProcessGroup, folder: Path, finished: FinishedSlices | None = None
) -> torch.Tensor:
    """Sample this rank's rows of the part into an existing folder.

    Args:
        job: the step.
        group: the ranks that share the part.
        folder: of this rank's shards.
        finished: slices that an earlier attempt has sampled.

    Returns:
        int64 [4]: documents, tokens, documents that ended, and documents of the prompt alone.

    Raises:
        UserError: the checkpoint's tokenizer has more tokens than its model.
    """
    sampling, real, checkpoint = job.params.sampling, Path(job.input["real"]), Path(job.input["checkpoint"])
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokens, vocabulary = tokenizer.get_vocab_size(), vocabulary_size(checkpoint)
    if tokens > vocabulary:
        raise UserError(
            f"{checkpoint}: tokenizer.json has {tokens} tokens, more than the model's vocabulary of {vocabulary}."
        )
    if tokens < vocabulary:
        job.log.info("%d of the model's %d ids have no token and are not sampled", vocabulary - tokens, vocabulary)
    total = count_rows(real)
    rows = share_of(total, group.rank, group.size)
    marks = marks_of(checkpoint)
    prompted = job.params.data is not None and job.params.data.prompt_column is not None
    if prompted:
        prompts = given_prompts(real, rows, marks, (sampling.max_length or context_of(checkpoint)) - 1, job.log)
    else:
        prompts = prompts_of(sampling, real, rows, marks)
    if sampling.continuation is not None:
        longest = min(prompts.shape[1] + sampling.continuation, context_of(checkpoint))
        sampling = sampling.changed(max_length=min(longest, sampling.max_length or longest))
    engine = vllm_engine if sampling.engine == "vllm" else torch_engine
    if sampling.engine == "torch" and (sampling.beams > 1 or is_pretrained(checkpoint)):
        engine = transformers_engine
    with job.progress(desc="sample", unit=" tokens", unit_scale=True) as bar:
        request = Request(
            checkpoint,
            prompts,
            sampling,
            job.params.streams,
            job.params.precision,
            job.threads,
            job.gpus,
            bar.update,
            job.log,
            rows.start,
            total,
            tokens if tokens < vocabulary else None,
            marks.end,
            finished,
            partial(note_device, job),
        )
        given = (prompts >= 0).sum(axis=1)
        documents = cut(engine.sample(request), given, sampling.continuation)
        return write_documents(job, documents, rows, given, tokenizer, folder, marks.end, prompted)


def prompts_of(sampling: Sampling, real: Path, rows: range, marks: Marks = OWN_MARKS) -> np.ndarray:
    """What the documents of some rows begin with, int64 [rows, longest prompt]; shorter ones end in -1."""
    if sampling.prompt == "begin-of-text":
        return np.full((len(rows), 1), marks.begin, dtype=np.int64)
    longest = sampling.prompt_tokens
    store = TokenStore.in_memory(iterate_rows(shard_paths(real), ["input_ids"]), longest, marks)
    if sampling.prompt == "first-token":
        return np.array([store[row] for row in rows], dtype=np.int64).reshape(len(rows), 2)
    ends = store.ended & (store.lengths > 1)
    prompts = np.full((len(rows), longest), -1, dtype=np.int64)
    for prompt, row in zip(prompts, rows, strict=True):
        ids = store[row][: store.lengths[row] - ends[row]]
        prompt[: len(ids)] = ids
    return prompts[:, : int((prompts >= 0).sum(axis=1).max(initial=1))]


def given_prompts(real: Path, rows: range, marks: Marks, longest: int, log: logging.Logger) -> np.ndarray:
    """The prompts of the real documents of some rows as `prompts_of` has them, cut to `longest` tokens."""
    store = TokenStore.in_memory(iterate_rows(shard_paths(real), COLUMNS), 2**20, marks)
    assert store.given is not None
    given = store.given[rows.start : rows.stop]
    if cut_off := int((given > longest).sum()):
        log.warning(
            "warning: %d of %d prompts are cut at %d tokens, which leaves one for the response; raise model.context or "
            "sampling.max_length",
            cut_off, len(rows), longest,
        )  # fmt: skip
    prompts = np.full((len(rows), min(int(given.max(initial=1)), longest)), -1, dtype=np.int64)
    for prompt, row, tokens in zip(prompts, rows, given.tolist(), strict=True):
        ids = store[row][: min(tokens, longest)]
        prompt[: len(ids)] = ids
    return prompts


def cut(documents: Iterable[np.ndarray], given: np.ndarray, continuation: int | None) -> Iterator[np.ndarray]:
    """Documents with at most `continuation` tokens after their prompts, the numbers of whose tokens are `given`."""
    for ids, prompt in zip(documents, given.tolist(), strict=True):
        yield ids if continuation is None else ids[: prompt + continuation]


def write_documents(
    job: Job[Params],
    documents: Iterable[np.ndarray],
    rows: range,
    given: np.ndarray,
    tokenizer: Tokenizer,
    folder: Path,
    end: int = OWN_MARKS.end,
    prompted: bool = False,
) -> torch.Tensor:
    """Write documents, which `end` ends; `given` counts their prompts' tokens, which are noted if they are `prompted`.

    Returns the counts of `sample_share`.
    """
    tokens = ended = empty = 0
    origin = {"iteration": job.params.iteration, "part": job.params.part}
    numbers, remaining = iter(zip(rows, given.tolist(), strict=True)), iter(documents)
    with ShardWriter(folder, PROMPTED if prompted else SCHEMA) as writer:
        while batch := list(islice(remaining, DECODED_TOGETHER)):
            texts = tokenizer.decode_batch([ids.tolist() for ids in batch], skip_special_tokens=True)  # frees the GIL
            for text, ids in zip(texts, batch, strict=True):
                row, prompt = next(numbers)
                noted = {"prompt_tokens": prompt} if prompted else {}
                writer.append({"text": text, "input_ids": ids, **origin, "row": row, **noted})
                ends = len(ids) > 1 and bool(ids[-1] == end)
                tokens += len(ids)
                ended += ends
                empty += len(ids) - ends <= prompt
    return torch.tensor([len(rows), tokens, ended, empty])
