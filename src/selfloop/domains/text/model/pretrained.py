"""Causal language models of `transformers`, of any architecture, as the loop trains, measures and samples them.

`transformers` is imported where a model is loaded, not here: that takes seconds, which our own models do not need.
"""

import importlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from selfloop.domains.text.config import Adapter, Model
from selfloop.domains.text.data.tokenizer import Marks, marks_of
from selfloop.domains.text.model.adapter import Network, add_adapter, base_of, is_adapter, save_adapter, with_adapter
from selfloop.errors import UserError

Tokenizer: TypeAlias = Any  # a transformers.PreTrainedTokenizerFast

T = TypeVar("T")
LARGE = 100.0  # a logit
KEY = "selfloop"  # of config.json in checkpoints that are written here: the context, and what begins and ends documents


class Pretrained(nn.Module):
    """A causal language model of `transformers`.

    Attributes:
        network: the model itself, always in evaluation mode: dropout would make a resumed training another one.
        context: longest sequence in tokens, by the study.
        marks: the ids that begin and end documents.
        plain_head: whether logits are the last hidden states times a matrix, so that `HeadLoss` computes them.
    """

    def __init__(self, network: Network, context: int, marks: Marks) -> None:
        super().__init__()
        self.adapted: list[Network] = []  # the PEFT model, whose modules are those of the network
        self.network = with_fused_gelu(network.eval())
        self.context, self.marks = context, marks
        self.plain_head = _has_plain_head(network)

    def train(self, mode: bool = True) -> "Pretrained":
        """Do nothing: see `network`."""
        return self

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch, length, vocabulary] of the next token at every position of ids [batch, length]."""
        logits: Tensor = self.network(input_ids=ids, use_cache=False).logits
        return logits

    def hidden(self, ids: Tensor) -> Tensor:
        """Final hidden states [batch, length, hidden] of ids [batch, length]."""
        states: Tensor = self.network.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return states

    def compile_hidden(self) -> None:
        """torch.compile everything but the head, with dynamic shapes."""
        self.hidden = torch.compile(self.hidden, dynamic=True)  # type: ignore[method-assign]

    def attention(self, device: torch.device, dtype: torch.dtype) -> str:
        """The implementation of attention, as `transformers` names it."""
        return str(self.network.config._attn_implementation)

    @property
    def head_weight(self) -> Tensor:
        """The output projection, [vocabulary, hidden]."""
        weight: Tensor = self.network.get_output_embeddings().weight
        return weight

    @property
    def vocabulary(self) -> int:
        """Ids that the model has."""
        return int(self.network.config.get_text_config().vocab_size)


def with_fused_gelu(network: Network) -> Network:
    """The network with torch's GELU by tanh in place of `NewGELUActivation`, GPT-2's own.

    The same function but for rounding, as one operation and not eight: those were a seventh of a training on a CPU.
    """
    for module in network.modules():
        for name, child in module.named_children():
            if type(child).__name__ == "NewGELUActivation":
                setattr(module, name, nn.GELU(approximate="tanh"))
    return network


def is_pretrained(folder: Path) -> bool:
    """Whether a checkpoint is one of these, not of our own models."""
    return KEY in json.loads((folder / "config.json").read_text(encoding="utf-8"))


def load_pretrained(folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Pretrained:
    """The model of a checkpoint that was written here, in evaluation mode.

    Raises:
        UserError: it cannot be loaded, or a weight is NaN or infinite.
    """
    network, context = read_network(folder, dtype)
    model = Pretrained(network, context, marks_of(folder))
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise UserError(f"{folder}: {name} is not finite.")
    return model.to(device)


def begin_pretrained(model: Model, seed: int, fresh: bool) -> Pretrained:
    """The model that a config's `model.checkpoint` names, in float32.

    Args:
        model: the section.
        seed: of the weights, where these are fresh.
        fresh: whether to take its architecture with new weights.

    Raises:
        UserError: it cannot be loaded, is not causal, or its positions are fewer than `model.context`.
    """
    from transformers import AutoConfig

    name = str(model.checkpoint)
    if fresh:
        config = _explained(name, lambda: AutoConfig.from_pretrained(name, revision=model.revision))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _auto().from_config(config, dtype=torch.float32)
    else:
        network = _loaded(name, model.revision, torch.float32)
    tokenizer = load_tokenizer(model)
    text = network.config.get_text_config()
    most = getattr(text, "max_position_embeddings", None) or math.inf
    if model.context > most:
        raise UserError(f"model.context: {model.context} is more than the {most} positions of {name}.")
    if not _is_causal(network.eval()):  # new ones are in training mode, with dropout
        raise UserError(
            f"model.checkpoint: {name} is not a causal language model: its predictions depend on later tokens."
        )
    found = marks_of_tokenizer(tokenizer, text.vocab_size)
    for config in (network.config, network.generation_config):
        config.bos_token_id, config.eos_token_id = found.begin, found.end
    setattr(network.config, KEY, {"context": model.context, "marks": [found.begin, found.end]})
    return Pretrained(network, model.context, found)


def adapt(model: Pretrained, adapter: Adapter, base: Model, seed: int, start: Path | None) -> Pretrained:
    """A model of which an adapter alone is trained: a new one, or the one of the checkpoint `start`.

    Raises:
        UserError: the adapter's targets are not modules of the network, or are its tied embeddings.
    """
    fresh = start is None or not is_adapter(start)
    network = model.network
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    wrapped = add_adapter(network, adapter, base, seed) if fresh else with_adapter(network, Path(str(start)), True)
    plain = network.get_output_embeddings() is head
    if head.weight is embedding.weight and not (plain and network.get_input_embeddings() is embedding):
        raise UserError(
            f"training.adapter.targets: {adapter.targets} has the embeddings of {base.checkpoint}, which are also its "
            "head: an adapter of the one would be merged into both. Leave them out."
        )
    model.plain_head &= plain  # else the logits are not the states times its matrix
    model.adapted = [wrapped]
    return model


def read_network(folder: Path, dtype: torch.dtype) -> tuple[Network, int]:
    """A checkpoint that was written here, our own models included, as `transformers` loads it; and its context.

    Raises:
        UserError: it cannot be loaded.
    """
    if is_adapter(folder):
        held = json.loads((folder / "config.json").read_text(encoding="utf-8"))[KEY]
        return with_adapter(_loaded(*base_of(folder), dtype), folder), held["context"]
    network = with_fused_gelu(_loaded(str(folder), None, dtype))
    held = getattr(network.config, KEY, None)
    context: int = network.config.max_position_embeddings if held is None else held["context"]
    return network, context


def load_tokenizer(model: Model) -> Tokenizer:
    """The tokenizer of a config's `model.checkpoint`.

    Raises:
        UserError: it cannot be loaded, or is not a fast one.
    """
    from transformers import AutoTokenizer

    name = str(model.checkpoint)
    tokenizer = _explained(name, lambda: AutoTokenizer.from_pretrained(name, revision=model.revision))
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(f"model.checkpoint: the tokenizer of {name} has no tokenizer.json; take another checkpoint.")
    return tokenizer


def marks_of_tokenizer(tokenizer: Tokenizer, size: int) -> Marks:
    """The ids that begin and end documents: begin-of-text is end-of-text where a tokenizer has none.

    Raises:
        UserError: it has no end-of-text.
    """
    end = tokenizer.eos_token_id
    if not isinstance(end, int):
        raise UserError(f"model.checkpoint: the tokenizer of {tokenizer.name_or_path} has no end-of-text (eos_token).")
    begin = tokenizer.bos_token_id
    return Marks(begin if isinstance(begin, int) else end, end, size)


def save_pretrained(model: Pretrained, weights: Mapping[str, Tensor], source: Model, folder: Path) -> None:
    """Write a checkpoint as `transformers` does, with the tokenizer that it came with.

    Args:
        model: the architecture and its config.
        weights: float32 tensors by name, as `training.loop.Fit` has them.
        source: the config's `model` section.
        folder: existing.
    """
    model.network.config.dtype = torch.float32
    tensors = {name.removeprefix("network."): tensor for name, tensor in weights.items()}
    if model.adapted:
        save_adapter(model.adapted[0], tensors, folder)
    else:
        model.network.save_pretrained(folder, state_dict=tensors)
    load_tokenizer(source).save_pretrained(folder)


def _loaded(name: str, revision: str | None, dtype: torch.dtype) -> Network:
    """A model's weights, from safetensors alone, without running any code that comes with them."""
    options = {"revision": revision, "dtype": dtype, "use_safetensors": True, "trust_remote_code": False}
    return _explained(name, lambda: _auto().from_pretrained(name, **options))


def _auto() -> Network:
    """The class that loads them; its methods have no types."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM


def _explained(name: str, load: Callable[[], T]) -> T:
    """What `load` returns; its errors, of any kind, in one line."""
    logging = importlib.import_module("transformers.utils.logging")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return load()
    except Exception as error:
        said = " ".join(str(error).split())
        raise UserError(f"model.checkpoint: {name} cannot be loaded: {said[:500]}") from error


@torch.inference_mode()
def _is_causal(network: Network) -> bool:
    """Whether predictions do not depend on later tokens, tried on a few ids: `transformers` also loads encoders, which
    would see what they are to predict.
    """
    ids = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 8]])
    one, other = network(input_ids=ids, use_cache=False).logits[:, :-1]
    return torch.allclose(one, other, rtol=0, atol=1e-5 * float(one.abs().max()))


@torch.no_grad()
def _has_plain_head(network: Network) -> bool:
    """Whether the model's logits are its last hidden states times its output embeddings, tried on a few ids.

    Also with logits of the order of `LARGE`: some models cap theirs, which the small ones of new weights do not show.
    """
    head = network.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None:
        return False
    ids = torch.arange(4, device=head.weight.device)[None]
    states = network.base_model(input_ids=ids, use_cache=False).last_hidden_state
    if states.shape[-1] != head.weight.shape[1]:
        return False
    logits = network(input_ids=ids, use_cache=False).logits
    if not torch.allclose(nn.functional.linear(states, head.weight), logits, rtol=1e-3, atol=1e-3):
        return False
    weight = head.weight.clone()
    try:
        head.weight.mul_(LARGE / logits.abs().max().clamp(min=1e-6))
        states = network.base_model(input_ids=ids, use_cache=False).last_hidden_state
        expected, logits = nn.functional.linear(states, head.weight), network(input_ids=ids, use_cache=False).logits
        return torch.allclose(expected, logits, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    finally:
        head.weight.copy_(weight)
