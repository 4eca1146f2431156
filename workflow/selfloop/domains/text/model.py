"""GPT-2 and Llama-2 transformers as small and fast as training and sampling need them.

Why not the classes of `transformers`: importing them takes several seconds, more than a whole step of a small study,
and their per-operation overhead decides the speed of small models. The checkpoints are theirs: see `checkpoint`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer; the names are those of the config's `model` section."""

    architecture: str
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    context: int
    vocabulary: int

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads


class Cache:
    """Keys and values of the tokens seen so far, allocated once for the longest sequence.

    Shape of `keys` and `values`: [layers, batch, heads, length, head_size].
    """

    def __init__(self, shape: Shape, batch: int, length: int, dtype: torch.dtype, device: torch.device) -> None:
        size = (shape.layers, batch, shape.heads, length, shape.head_size)
        self.keys = torch.zeros(size, dtype=dtype, device=device)
        self.values = torch.zeros(size, dtype=dtype, device=device)

    def keep(self, rows: Tensor) -> None:
        """Keep the sequences at the positions `rows` of the batch and drop the others."""
        self.keys = self.keys.index_select(1, rows)
        self.values = self.values.index_select(1, rows)


class Linear(nn.Linear):
    """A linear map whose weights come from `build` or a checkpoint; no time goes into initial ones that nobody sees."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is."""


class Embedding(nn.Embedding):
    """The same for a table of vectors."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is."""


class Block(nn.Module):
    """One pre-norm transformer block; q, k and v are one product in both architectures."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        hidden, inner = shape.hidden_size, shape.intermediate_size
        gpt2 = shape.architecture == "gpt2"
        self.attention_norm = nn.LayerNorm(hidden, eps=1e-5) if gpt2 else nn.RMSNorm(hidden, eps=1e-5)
        self.qkv = Linear(hidden, 3 * hidden, bias=gpt2)
        self.attention_out = Linear(hidden, hidden, bias=gpt2)
        self.feed_norm = nn.LayerNorm(hidden, eps=1e-5) if gpt2 else nn.RMSNorm(hidden, eps=1e-5)
        # Llama's gate and up projections are one product, too.
        self.feed_in = Linear(hidden, inner if gpt2 else 2 * inner, bias=gpt2)
        self.feed_out = Linear(inner, hidden, bias=gpt2)

    def forward(self, x: Tensor, rotation: Tensor | None) -> Tensor:
        """All positions at once, each attending to those before it. x: [batch, length, hidden]."""
        q, k, v = self._heads(self.attention_norm(x), rotation)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self._finish(x, mixed)

    def step(self, x: Tensor, rotation: Tensor | None, cache: Cache, layer: int, position: int) -> Tensor:
        """One new position, attending to the cached ones. x: [batch, 1, hidden]."""
        q, k, v = self._heads(self.attention_norm(x), rotation)
        cache.keys[layer, :, :, position] = k[:, :, 0]
        cache.values[layer, :, :, position] = v[:, :, 0]
        seen = slice(0, position + 1)
        mixed = F.scaled_dot_product_attention(q, cache.keys[layer, :, :, seen], cache.values[layer, :, :, seen])
        return self._finish(x, mixed)

    def _heads(self, x: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.shape.heads, self.shape.head_size).permute(2, 0, 3, 1, 4)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return q, k, v

    def _finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        batch, _, length, _ = mixed.shape
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(batch, length, self.shape.hidden_size))
        inner = self.feed_in(self.feed_norm(x))
        if self.shape.architecture == "gpt2":
            fed: Tensor = self.feed_out(F.gelu(inner, approximate="tanh"))
        else:
            gate, up = inner.chunk(2, dim=-1)
            fed = self.feed_out(F.silu(gate) * up)
        return x + fed


class Transformer(nn.Module):
    """A decoder of one of the two shapes. Ids in, logits out; see `forward` and `step`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        gpt2 = shape.architecture == "gpt2"
        self.embedding = Embedding(shape.vocabulary, shape.hidden_size)
        self.positions = Embedding(shape.context, shape.hidden_size) if gpt2 else None
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.hidden_size, eps=1e-5) if gpt2 else nn.RMSNorm(shape.hidden_size, eps=1e-5)
        self.head = None if gpt2 else Linear(shape.hidden_size, shape.vocabulary, bias=False)
        table = None if gpt2 else rotation_table(shape)
        self.rotation: Tensor | None
        self.register_buffer("rotation", table, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch, length, vocabulary] of the next token at every position of ids [batch, length]."""
        length = ids.shape[1]
        x = self.embedding(ids)
        if self.positions is not None:
            x = x + self.positions.weight[:length]
        rotation = None if self.rotation is None else self.rotation[:, :length].to(x.dtype)
        for block in self.blocks:
            x = block(x, rotation)
        return self._logits(x)

    def step(self, ids: Tensor, cache: Cache, position: int) -> Tensor:
        """Logits [batch, vocabulary] after ids [batch], the tokens at `position`; fills the cache there."""
        x = self.embedding(ids)[:, None]
        if self.positions is not None:
            x = x + self.positions.weight[position]
        rotation = None if self.rotation is None else self.rotation[:, position : position + 1].to(x.dtype)
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            x = block.step(x, rotation, cache, layer, position)
        return self._logits(x)[:, 0]

    def _logits(self, x: Tensor) -> Tensor:
        weight = self.embedding.weight if self.head is None else self.head.weight
        return F.linear(self.norm(x), weight)


def rotation_table(shape: Shape) -> Tensor:
    """Cosines and sines of the rotary angles, [2, context, head_size], base 10,000 (Su et al. 2021)."""
    half = shape.head_size // 2
    frequencies = 10_000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(shape.context, dtype=torch.float32)[:, None] * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotary positions in the half-split order that `transformers` uses. x: [batch, heads, length, head_size]."""
    low, high = x.chunk(2, dim=-1)
    return x * rotation[0] + torch.cat([-high, low], dim=-1) * rotation[1]


def build(model: Mapping[str, Any], seed: int) -> Transformer:
    """A freshly initialised transformer in float32, of a config's `model` section.

    Matrices are normal(0, initializer_range), those that write to the residual stream scaled down by √(2·layers) as in
    GPT-2; biases are 0, norms 1.
    """
    transformer = Transformer(shape_of(model))
    generator = torch.Generator().manual_seed(seed)
    residual_scale = 1 / math.sqrt(2 * transformer.shape.layers)
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            if parameter.dim() == 2:
                scale = residual_scale if name.endswith(("attention_out.weight", "feed_out.weight")) else 1.0
                parameter.normal_(0.0, model["initializer_range"] * scale, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()
    return transformer


def shape_of(model: Mapping[str, Any]) -> Shape:
    """The shape that a config's `model` section describes."""
    sizes = {field.name: model[field.name] for field in fields(Shape)}
    sizes["intermediate_size"] = sizes["intermediate_size"] or 4 * sizes["hidden_size"]
    return Shape(**sizes)
