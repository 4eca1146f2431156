"""Rule train: fit one language model to its training set, one document per row or packed."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import torch
from tokenizers import Tokenizer
from torch import Tensor

from selfloop.data import training_set
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.config import MOST_CUT, Model, Training
from selfloop.domains.text.data.token_store import COLUMNS, TokenStore
from selfloop.domains.text.data.tokenizer import marks_around
from selfloop.domains.text.model.batches import DocumentTask, LanguageTask, Order, PackedTask
from selfloop.domains.text.model.checkpoint import load_model, save_checkpoint
from selfloop.domains.text.model.network import Transformer, build
from selfloop.domains.text.model.pretrained import Pretrained, adapt, begin_pretrained, save_pretrained
from selfloop.errors import UserError
from selfloop.identity import stream
from selfloop.jobs.job import Job
from selfloop.training.devices import (
    compile_deterministically,
    compute_dtype,
    missing_to_compile,
    note,
    prepare_torch,
)
from selfloop.training.distributed import ProcessGroup, process_group
from selfloop.training.loop import TrainParams, micro_batches, train_and_save
from selfloop.training.lr_schedule import OptimizerConfig

log = logging.getLogger(__name__)
STEPS_WORTH_COMPILING = 2000


class Params(TrainParams):
    """What the step takes of its params."""

    model: Model
    training: Training


def run(job: Job[Params]) -> None:
    """Train from `job.input.training_set`; write a checkpoint and a learning curve."""
    device = prepare_torch(job.threads, job.gpus)
    with process_group(device) as group:
        train_model(job, device, group)


def worth_compiling(steps: int, device: torch.device) -> bool:
    """Whether torch.compile saves more time than it takes; never on a CPU, where matrix products dominate."""
    return device.type == "cuda" and steps >= STEPS_WORTH_COMPILING


def compiles(training: Training, steps: int, device: torch.device) -> bool:
    """Whether torch.compile is on.

    Raises:
        UserError: `training.compile` is true, and what that needs is missing here.
    """
    if training.compile is False or (training.compile == "auto" and not worth_compiling(steps, device)):
        return False
    if (missing := missing_to_compile(device)) is None:
        return True
    if training.compile is True:
        raise UserError(
            f"training.compile: torch.compile needs {missing}, which is not installed here. Install it, or take auto."
        )
    log.info("training without torch.compile, which needs %s; it changes the last bits of models", missing)
    return False


def say_what_is_cut(held: int, kept: int, context: int) -> None:
    """Warn where much of a training set of `held` tokens is not trained on."""
    if held - kept > MOST_CUT * held:
        log.warning(
            "warning: documents are cut at model.context, %d tokens: %s of %s tokens are not trained on; "
            "data.documents divides long documents",
            context,
            f"{held - kept:,}",
            f"{held:,}",
        )


def _measured(batches: Iterable[pa.RecordBatch], lengths: list[int]) -> Iterator[pa.RecordBatch]:
    """The batches; their numbers of tokens are appended to `lengths`."""
    for batch in batches:
        lengths.append(len(batch.column("input_ids").flatten()))
        yield batch


def started(job: Job[Params], seed: int) -> Transformer | Pretrained:
    """The model as it is before its training: of `job.input.start`, of the config's checkpoint, or with new weights."""
    config, start, adapter = job.params.model, job.input.get("start"), job.params.training.adapter
    if adapter is not None:
        model = begin_pretrained(config, seed, fresh=False)
        return adapt(model, adapter, config, seed, None if start is None else Path(start))
    if start is not None:
        return load_model(Path(start))
    if config.checkpoint is not None:
        return begin_pretrained(config, seed, fresh=job.params.training.start == "scratch")
    return build(config, seed)


def train_model(job: Job[Params], device: torch.device, group: ProcessGroup) -> None:
    """Train as one rank of a process group."""
    config, training = job.params.model, job.params.training
    context = config.context
    folder = Path(job.input["training_set"])
    tokens = Path(job.params.state) / "tokens"
    tokenizer = Path(job.input["tokenizer"])
    marks = marks_around(Tokenizer.from_file(str(tokenizer)))
    model = started(job, stream(job.params.streams, "weights"))
    marks = marks._replace(size=max(marks.size, model.vocabulary))
    if group.is_main:
        lengths: list[int] = []
        store = TokenStore.create(_measured(training_set.rows(folder, COLUMNS), lengths), context, tokens, marks)
        say_what_is_cut(sum(lengths), int(store.bounds[-1]), context)
    group.barrier()
    train = TokenStore.open(tokens, marks)
    test = TokenStore.in_memory(iterate_rows(shard_paths(Path(job.input["test"])), COLUMNS), context, marks)
    train.check_ids(model.vocabulary, folder)
    test.check_ids(model.vocabulary, Path(job.input["test"]))
    job.log.info(
        "training set: %d documents, %s tokens; %d without end-of-text within the context of %d tokens",
        len(train), f"{train.bounds[-1]:,}", int((~train.ended).sum()), context,
    )  # fmt: skip
    if len(train) < training.batch_size and not training.packing:
        raise UserError(f"{folder} has {len(train)} documents, fewer than training.batch_size, {training.batch_size}.")
    order = Order(training, training.batch_size, stream(job.params.streams, "batches"), group)
    curve = test.first(training.evaluation_rows)
    weights = training_set.weights(folder)
    task: LanguageTask
    if training.packing:
        task = PackedTask(train, curve, order, context, device, weights)
    else:
        task = DocumentTask(train, curve, order, device, weights)
    pieces = [task.share(share) for share in micro_batches(group, training.batch_size, job.micro_batch)]
    compiled = compiles(training, task.steps, device)
    if compiled:
        compile_deterministically(device)
        model.compile_hidden()
    dtype = compute_dtype(training.precision, device)
    note(job, device, dtype, attention=model.attention(device, dtype), compiled=compiled)

    def save(weights: dict[str, Tensor], folder: Path) -> None:
        if isinstance(model, Pretrained):
            save_pretrained(model, weights, config, folder)
        else:
            save_checkpoint(model, weights, tokenizer, folder)

    train_and_save(
        job, model, task, OptimizerConfig.of(training), device, save, group, "compiled" if compiled else "", pieces
    )
