"""Rule evaluate_model: a model's cross-entropy on the real test documents, and what follows from it."""

import math
from pathlib import Path

import torch
from tokenizers import Tokenizer

from selfloop.data.measurements import write_measurements
from selfloop.data.shards import iterate_rows, shard_paths
from selfloop.domains.text.data.token_store import COLUMNS, TokenStore
from selfloop.domains.text.model.checkpoint import load_model
from selfloop.domains.text.model.loss import cross_entropy
from selfloop.domains.text.model.network import Transformer
from selfloop.domains.text.model.pretrained import Pretrained
from selfloop.jobs.job import Job, StepParams
from selfloop.training.devices import note, prepare_torch

LONGEST = 2**30  # tokens; what is read in windows is not cut


class Params(StepParams):
    """What the step takes of its params."""

    window: int | None = None
    stride: int | None = None


def run(job: Job[Params]) -> None:
    """Evaluate in float32, whatever the compute dtype of the training."""
    device = prepare_torch(job.threads, job.gpus)
    checkpoint, window, stride = Path(job.input["checkpoint"]), job.params.window, job.params.stride
    model = load_model(checkpoint, device=str(device))
    note(job, device, torch.float32, attention=model.attention(device, torch.float32))
    measured = {"cross_entropy": cross_entropy(model, _test(job, model, model.context), device)}
    if window is not None and stride is not None:
        whole = _test(job, model, LONGEST)
        text = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        measured |= in_windows(model, whole, text, window, stride, device)
    write_measurements(job, {"test": measured})


def in_windows(
    model: Transformer | Pretrained,
    store: TokenStore,
    tokenizer: Tokenizer,
    window: int,
    stride: int,
    device: torch.device,
) -> dict[str, float]:
    """Perplexity, e to the mean loss per predicted token; and bits per byte, their summed loss over the bytes that the
    predicted tokens spell in UTF-8.

    End-of-text is predicted, and spells nothing. As in `transformers`' guide to perplexity, each token is predicted
    from the tokens before it in the first window that has it.
    """
    loss = cross_entropy(model, store.windows(window, stride), device)
    said = store.responses()
    texts = tokenizer.decode_batch([said[row].tolist() for row in range(len(said))], skip_special_tokens=True)
    nats = loss * float(store.predicted.sum())
    return {
        "perplexity": math.exp(loss),
        "bits_per_byte": nats / math.log(2) / max(1, sum(len(text.encode()) for text in texts)),
    }


def _test(job: Job[Params], model: Transformer | Pretrained, longest: int) -> TokenStore:
    return TokenStore.in_memory(iterate_rows(shard_paths(Path(job.input["test"])), COLUMNS), longest, model.marks)
