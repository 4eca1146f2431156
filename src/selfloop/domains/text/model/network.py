"""Minimal GPT-2 and Llama-2 transformers for training and sampling.

Not those of `transformers`: importing them takes seconds, more than a whole step of a small study, and their
per-operation overhead dominates small models. The checkpoint format is theirs: see `checkpoint`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend

from selfloop.domains.text.config import Model
from selfloop.domains.text.data.tokenizer import OWN_MARKS, Marks
from selfloop.domains.text.kernels.gpu.triton_available import triton_attends
from selfloop.domains.text.model.shape import Shape, shape_of
from selfloop.training.triton_available import triton_runs_on

if TYPE_CHECKING:  # how a cache is laid out changes no training
    from selfloop.domains.text.model.kv_cache import KVCache


def swiglu(product: Tensor) -> Tensor:
    """SiLU of the gate, which is the first half, times the second half (Shazeer 2020)."""
    gate, up = product.chunk(2, dim=-1)
    return F.silu(gate) * up


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": partial(F.gelu, approximate="tanh"), "swiglu": swiglu}


Attend = Callable[[int, Tensor, Tensor], None]  # see `Transformer.decode`
Decode = Callable[[Tensor, Tensor, Attend], Tensor]


class Linear(nn.Linear):
    """A linear layer without default initialisation: weights come from `build` or a checkpoint."""

    def reset_parameters(self) -> None:
        """Do nothing."""

    def forward(self, x: Tensor, activation: str | None = None, residual: Tensor | None = None) -> Tensor:
        """The linear map of x, followed by one of `ACTIVATIONS`, or added to a residual stream."""
        product = F.linear(x, self.weight, self.bias)
        if residual is not None:
            return residual + product
        return product if activation is None else ACTIVATIONS[activation](product)


class Embedding(nn.Embedding):
    """An embedding without default initialisation."""

    def reset_parameters(self) -> None:
        """Do nothing."""


def causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention by PyTorch, [batch, heads, length, head_size]; on a CPU in float32.

    There its backward pass in bfloat16 takes 3.5 times as long, more than all of a small model's products with AMX.
    """
    if q.device.type == "cpu":
        q, k, v = q.float(), k.float(), v.float()
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Block(nn.Module):
    """A pre-norm transformer block with fused q, k and v projections."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        hidden, inner = shape.hidden_size, shape.intermediate_size
        gpt2 = shape.architecture == "gpt2"
        self.attention_norm = nn.LayerNorm(hidden, eps=1e-5) if gpt2 else nn.RMSNorm(hidden, eps=1e-5)
        self.qkv = Linear(hidden, 3 * hidden, bias=gpt2)
        self.attention_out = Linear(hidden, hidden, bias=gpt2)
        self.activation = "gelu" if gpt2 else "swiglu"
        self.feed_norm = nn.LayerNorm(hidden, eps=1e-5) if gpt2 else nn.RMSNorm(hidden, eps=1e-5)
        # Llama's gate and up projections are fused, too.
        self.feed_in = Linear(hidden, inner if gpt2 else 2 * inner, bias=gpt2)
        self.feed_out = Linear(inner, hidden, bias=gpt2)

    def forward(self, x: Tensor, rotation: Tensor | None) -> Tensor:
        """Causal attention over all positions. x: [batch, length, hidden]."""
        qkv = self.qkv(self.attention_norm(x)).view(*x.shape[:2], 3, self.shape.heads, self.shape.head_size)
        if triton_attends(qkv.device, qkv.dtype, self.shape.head_size):
            from selfloop.domains.text.kernels.gpu.causal_attention import causal_attention

            return self._finish(x, causal_attention(qkv, rotation))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return self._finish(x, causal(q, k, v).transpose(1, 2).to(x.dtype))

    def step(self, x: Tensor, rotation: Tensor | None, attend: Attend, layer: int) -> Tensor:
        """One decoding step. x: [sequences, hidden]."""
        qkv = self.qkv(self.attention_norm(x)).view(len(x), 3, self.shape.heads, self.shape.head_size)
        if rotation is not None:
            qkv[:, :2] = rotate(qkv[:, :2], rotation)
        mixed = qkv.new_empty(len(x), self.shape.heads, self.shape.head_size)
        attend(layer, qkv, mixed)
        return self._finish(x, mixed)

    def _finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = self.attention_out(mixed.reshape(x.shape), residual=x)
        fed: Tensor = self.feed_out(self.feed_in(self.feed_norm(x), self.activation), residual=x)
        return fed


class Transformer(nn.Module):
    """A decoder-only transformer: `forward` for training, `step` for decoding with KV caches."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        gpt2 = shape.architecture == "gpt2"
        self.embedding = Embedding(shape.vocabulary, shape.hidden_size)
        self.positions = Embedding(shape.context, shape.hidden_size) if gpt2 else None
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.hidden_size, eps=1e-5) if gpt2 else nn.RMSNorm(shape.hidden_size, eps=1e-5)
        self.head: nn.Module | None = None if gpt2 else Linear(shape.hidden_size, shape.vocabulary, bias=False)
        table = None if gpt2 else rotation_table(shape)
        self.rotation: Tensor | None
        self.register_buffer("rotation", table, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch, length, vocabulary] of the next token at every position of ids [batch, length]."""
        return F.linear(self.hidden(ids), self.head_weight)

    def hidden(self, ids: Tensor) -> Tensor:
        """Final hidden states [batch, length, hidden] of ids [batch, length]."""
        length = ids.shape[1]
        x = self.embedding(ids)
        if self.positions is not None:
            x = x + self.positions.weight[:length]
        rotation = None if self.rotation is None else self.rotation[:, :length].to(x.dtype)
        for block in self.blocks:
            x = block(x, rotation)
        normed: Tensor = self.norm(x)
        return normed

    def compile_hidden(self) -> None:
        """torch.compile everything but the head, with dynamic shapes."""
        torch.compiler.assume_constant_result(triton_attends)  # type: ignore[no-untyped-call]
        self.hidden = torch.compile(self.hidden, dynamic=True)  # type: ignore[method-assign]

    def step(self, ids: Tensor, caches: Sequence["KVCache"], decode: Decode | None = None) -> Tensor:
        """Logits [sequences, vocabulary] of the next token after ids [sequences], which extend the caches' sequences.

        The sequences of the caches are concatenated; those of one cache are at the same position. What `decode` gives
        stands for the logits, if it is given.
        """
        positions = torch.cat([ids.new_full((len(cache),), cache.length) for cache in caches])
        sizes = [len(cache) for cache in caches]

        def attend(layer: int, qkv: Tensor, mixed: Tensor) -> None:
            pieces = [(qkv, mixed)]
            if len(caches) > 1:
                pieces = list(zip(torch.split(qkv, sizes), torch.split(mixed, sizes), strict=True))
            for cache, piece in zip(caches, pieces, strict=True):
                cache.attend(layer, *piece)

        logits = (decode or self.decode)(ids, positions, attend)
        for cache in caches:
            cache.length += 1
        return logits

    def decode(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Logits [sequences, vocabulary] of the next token after ids [sequences] at `positions`, of any cache.

        attend(layer, qkv, mixed) remembers the keys and values of qkv [sequences, 3, heads, head_size], and writes what
        the queries attend to to `mixed` [sequences, heads, head_size].
        """
        x = self.embedding(ids)
        if self.positions is not None:
            x = x + self.positions(positions)
        rotation = None if self.rotation is None else self.rotation[:, positions, None, None].to(x.dtype)
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            x = block.step(x, rotation, attend, layer)
        logits: Tensor = F.linear(self.norm(x), self.head_weight) if self.head is None else self.head(self.norm(x))
        return logits

    def attention(self, device: torch.device, dtype: torch.dtype) -> str:
        """The backend of attention in training."""
        return attention_backend(self.shape, device, dtype)

    @property
    def context(self) -> int:
        """Longest sequence in tokens."""
        return self.shape.context

    @property
    def vocabulary(self) -> int:
        """Ids that the model has."""
        return self.shape.vocabulary

    @property
    def marks(self) -> Marks:
        """The ids that begin and end documents."""
        return OWN_MARKS

    @property
    def head_weight(self) -> Tensor:
        """The output projection, [vocabulary, hidden]; GPT-2's is tied to its embedding."""
        if self.head is None:
            return self.embedding.weight
        assert isinstance(self.head, Linear)  # not packed, as for sampling
        return self.head.weight


def attention_backend(shape: Shape, device: torch.device, dtype: torch.dtype, is_causal: bool = True) -> str:
    """What computes attention: TRITON, our kernels, or what scaled_dot_product_attention takes, an `SDPBackend`'s name.

    Causal, as in training, or with a mask, as sampling on a GPU has it.
    """
    if triton_attends(device, dtype, shape.head_size) if is_causal else triton_runs_on(device):
        return "TRITON"
    heads = torch.empty(1, shape.heads, 8, shape.head_size, device=device, dtype=dtype)
    mask = None if is_causal else torch.zeros(1, 1, 8, 8, device=device, dtype=dtype)
    return SDPBackend(torch._fused_sdp_choice(heads, heads, heads, mask, 0.0, is_causal)).name


def rotation_table(shape: Shape) -> Tensor:
    """Cosines and sines of the rotary angles, [2, context, head_size], base 10,000 (Su et al. 2021).

    The first half of the sines is negated, see `rotate`.
    """
    half = shape.head_size // 2
    frequencies = 10_000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(shape.context, dtype=torch.float32)[:, None] * frequencies
    sines = angles.sin()
    return torch.stack([angles.cos().repeat(1, 2), torch.cat([-sines, sines], dim=-1)])


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Apply rotary positions in the half-split layout of `transformers` to the last dimension of x."""
    low, high = x.chunk(2, dim=-1)
    return torch.addcmul(x * rotation[0], torch.cat([high, low], dim=-1), rotation[1])


def build(model: Model, seed: int) -> Transformer:
    """A freshly initialised float32 transformer of a config's `model` section.

    Matrices are normal(0, initializer_range), residual projections scaled by 1/√(2·layers) as in GPT-2; biases are 0,
    norms 1.
    """
    transformer = Transformer(shape_of(model))
    generator = torch.Generator().manual_seed(seed)
    residual_scale = 1 / math.sqrt(2 * transformer.shape.layers)
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            if parameter.dim() == 2:
                scale = residual_scale if name.endswith(("attention_out.weight", "feed_out.weight")) else 1.0
                parameter.normal_(0.0, model.initializer_range * scale, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()
    return transformer
