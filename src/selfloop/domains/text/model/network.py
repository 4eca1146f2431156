"""GPT-2 and Llama-2 transformers as small and fast as training and sampling need them.

Why not the classes of `transformers`: importing them takes several seconds, more than a whole step of a small study,
and their per-operation overhead decides the speed of small models. The checkpoints are theirs: see `checkpoint`.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfloop.domains.text.config import Model
from selfloop.domains.text.model.kv_cache import KVCache
from selfloop.domains.text.model.shape import Shape, shape_of


def swiglu(product: Tensor) -> Tensor:
    """SiLU of the gate, which is the first half, times the second half (Shazeer 2020)."""
    gate, up = product.chunk(2, dim=-1)
    return F.silu(gate) * up


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": partial(F.gelu, approximate="tanh"), "swiglu": swiglu}


class Linear(nn.Linear):
    """A linear map whose weights come from `build` or a checkpoint; no time goes into initial ones that nobody sees."""

    def reset_parameters(self) -> None:
        """Leave the memory as it is."""

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        """The linear map of x, and what one of `ACTIVATIONS` makes of it."""
        product = F.linear(x, self.weight, self.bias)
        return product if activation is None else ACTIVATIONS[activation](product)


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
        self.activation = "gelu" if gpt2 else "swiglu"
        self.feed_norm = nn.LayerNorm(hidden, eps=1e-5) if gpt2 else nn.RMSNorm(hidden, eps=1e-5)
        # Llama's gate and up projections are one product, too.
        self.feed_in = Linear(hidden, inner if gpt2 else 2 * inner, bias=gpt2)
        self.feed_out = Linear(inner, hidden, bias=gpt2)

    def forward(self, x: Tensor, rotation: Tensor | None) -> Tensor:
        """All positions at once, each attending to those before it. x: [batch, length, hidden]."""
        q, k, v = self._heads(self.attention_norm(x), rotation)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self._finish(x, mixed.transpose(1, 2))

    def step(self, x: Tensor, rotation: Tensor | None, caches: Sequence[KVCache], layer: int) -> Tensor:
        """One new position of every sequence of every cache, attending to the cached ones. x: [sequences, hidden]."""
        qkv = self.qkv(self.attention_norm(x)).view(len(x), 3, self.shape.heads, self.shape.head_size)
        if rotation is not None:
            qkv[:, :2] = rotate(qkv[:, :2], rotation)
        pieces = qkv.to(caches[0].memory.dtype).split([len(cache) for cache in caches])
        mixed = torch.cat([cache.attend(layer, piece) for cache, piece in zip(caches, pieces, strict=True)])
        return self._finish(x, mixed.to(x.dtype))

    def _heads(self, x: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.shape.heads, self.shape.head_size).permute(2, 0, 3, 1, 4)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return q, k, v

    def _finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.attention_out(mixed.reshape(x.shape))
        fed: Tensor = self.feed_out(self.feed_in(self.feed_norm(x), self.activation))
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
        return F.linear(self.hidden(ids), self.head_weight)

    def hidden(self, ids: Tensor) -> Tensor:
        """What the logits are a linear map of, [batch, length, hidden], for ids [batch, length]."""
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
        """Compile all of `forward` but the head, for batches of any size."""
        self.hidden = torch.compile(self.hidden, dynamic=True)  # type: ignore[method-assign]

    def step(self, ids: Tensor, caches: Sequence[KVCache]) -> Tensor:
        """Logits [sequences, vocabulary] after ids [sequences], the next token of each sequence of the caches.

        The caches' sequences follow one another; those of one cache are at the same position. Fills the caches there.
        """
        positions = torch.cat([ids.new_full((len(cache),), cache.length) for cache in caches])
        x = self.embedding(ids)
        if self.positions is not None:
            x = x + self.positions(positions)
        rotation = None if self.rotation is None else self.rotation[:, positions, None, None].to(x.dtype)
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            x = block.step(x, rotation, caches, layer)
        for cache in caches:
            cache.length += 1
        return F.linear(self.norm(x), self.head_weight)

    @property
    def head_weight(self) -> Tensor:
        """The matrix that gives the logits, [vocabulary, hidden]; GPT-2's is its embedding."""
        return self.embedding.weight if self.head is None else self.head.weight


def rotation_table(shape: Shape) -> Tensor:
    """Cosines and sines of the rotary angles, [2, context, head_size], base 10,000 (Su et al. 2021).

    The sines of the first half are negative: they are what the second half is multiplied by. See `rotate`.
    """
    half = shape.head_size // 2
    frequencies = 10_000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(shape.context, dtype=torch.float32)[:, None] * frequencies
    sines = angles.sin()
    return torch.stack([angles.cos().repeat(1, 2), torch.cat([-sines, sines], dim=-1)])


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotary positions in the half-split order that `transformers` uses. The last dimension of x is the head's."""
    low, high = x.chunk(2, dim=-1)
    return torch.addcmul(x * rotation[0], torch.cat([high, low], dim=-1), rotation[1])


def build(model: Model, seed: int) -> Transformer:
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
                parameter.normal_(0.0, model.initializer_range * scale, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()
    return transformer
