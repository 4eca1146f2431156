"""Rule train: fit one language model to its training set, one document per row or packed."""

from pathlib import Path

import torch

from selfloop.data import training_set
from selfloop.data.atomic import whole_folder
from selfloop.data.learning_curve import write_curve
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.data.tokens import TokenStore
from selfloop.domains.text.model.batches import DocumentTask, LanguageTask, Order, PackedTask
from selfloop.domains.text.model.checkpoint import save_checkpoint
from selfloop.domains.text.model.network import build
from selfloop.errors import UserError
from selfloop.identity import stream
from selfloop.jobs.job import Job
from selfloop.training import loop
from selfloop.training.devices import prepare_torch
from selfloop.training.distributed import Group, joined
from selfloop.training.lr_schedule import Schedule
from selfloop.training.state import SavedState

STEPS_WORTH_COMPILING = 2000


def run(job: Job) -> None:
    """Train from `job.input.training_set`; write a checkpoint and a learning curve."""
    device = prepare_torch(job.threads, job.gpus)
    with joined(device) as group:
        train_model(job, device, group)


def worth_compiling(steps: int, device: torch.device) -> bool:
    """Whether torch.compile saves more time than it takes. On a CPU it does not: its products are as fast without."""
    return device.type == "cuda" and steps >= STEPS_WORTH_COMPILING


def train_model(job: Job, device: torch.device, group: Group) -> None:
    """The same as one of a group of processes; the one that leads writes."""
    settings, training = job.params["model"], job.params["training"]
    state = SavedState(Path(job.params["state"]), job.fingerprint(), job.every_seconds)
    context = settings["context"]
    folder = Path(job.input["training_set"])
    tokens = Path(job.params["state"]) / "tokens"
    if group.leads:
        TokenStore.create(training_set.rows(folder, ["input_ids"]), context, tokens)
    group.wait()
    train = TokenStore.open(tokens)
    test = TokenStore.in_memory(iterate_rows(shard_paths(Path(job.input["test"])), ["input_ids"]), context)
    train.check_ids(settings["vocabulary"], folder)
    test.check_ids(settings["vocabulary"], Path(job.input["test"]))
    job.log.info(
        "%d documents, %s tokens to train on; %d of them do not reach their end within the context of %d tokens",
        len(train), f"{train.bounds[-1]:,}", int((~train.ended).sum()), context,
    )  # fmt: skip
    if len(train) < training["batch_size"] and not training["packing"]:
        raise UserError(
            f"{folder} has {len(train)} documents, fewer than training.batch_size, {training['batch_size']}."
        )
    identity = job.params["identity"]
    model = build(settings, stream(identity, "weights"))
    order = Order(training["epochs"], training["batch_size"], stream(identity, "batches"), group)
    curve = test.first(training["evaluation_rows"])
    task: LanguageTask
    if training["packing"]:
        task = PackedTask(train, curve, order, context, device)
    else:
        task = DocumentTask(train, curve, order, device)
    if training["compile"] is True or (training["compile"] == "auto" and worth_compiling(task.steps, device)):
        job.log.info("the model is compiled")
        model.compile_hidden()
    result = loop.fit(model, task, Schedule.of(training), state, device, job.progress, group, job.did)
    if not group.leads:
        return
    with whole_folder(Path(job.output["checkpoint"])) as scratch:
        save_checkpoint(model, result.weights, Path(job.input["tokenizer"]), scratch)
    write_curve(result.curve, Path(job.output["learning_curve"]))  # last: it says that the training is done
    state.delete_the_rest()
