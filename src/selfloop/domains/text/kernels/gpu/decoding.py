"""Decoding on GPUs: attention of a new position to the KV cache, and the choice of the next token.

PyTorch's attention computes 64 queries where decoding has one, and every position of a cache up to its end. Here a
program has one row, and reads the positions that the row has; the documents of a batch may have any lengths.
"""

import math

import torch
from torch import Tensor

# How the kernels are launched. Constants, not the fastest found at run time: sums of other blocks have other last bits.
NUMBERS = 128  # of a position that a program reads at a time: those of some heads
POSITIONS, WARPS = 32, 4  # that it reads at a time, and how many warps have them
TOKENS, TOKEN_WARPS = 4096, 8  # logits at a time, likewise


def attend(qkv: Tensor, memory: Tensor, position: Tensor, moves: Tensor, out: Tensor) -> None:
    """Append the keys and values of a position to a KV cache, and attend to all positions up to it.

    Rows that do not move write beside the cache, and attend to nothing else: their result is of no use.

    Args:
        qkv: [rows, 3, heads, head_size].
        memory: [rows, positions, 2, heads, head_size]; the last position is beside the cache.
        position: int64 [rows], of the new keys and values.
        moves: bool [rows].
        out: [rows, heads, head_size], the result.
    """
    from selfloop.domains.text.kernels.gpu import triton_decoding  # Triton is not on all machines

    rows, _, heads, width = qkv.shape
    padded = power_of_two(width)
    group = math.gcd(heads, max(1, NUMBERS // padded))
    triton_decoding.attend[(rows, heads // group)](
        qkv,
        memory,
        position,
        moves,
        out,
        qkv.stride(0),
        memory.stride(0),
        memory.shape[1] - 1,
        heads,
        width,
        math.log2(math.e) / math.sqrt(width),
        GROUP=group,
        WIDTH=padded,
        BLOCK=POSITIONS,
        num_warps=WARPS,
    )


def draw(logits: Tensor, uniforms: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Sample a token of each row by inverse transform at one uniform number per row.

    Args:
        logits: [rows, vocabulary]; rows may be apart.
        uniforms: float32 [rows], in [0, 1).
        temperature: above 0.

    Returns:
        tokens, int64 [rows]; and whether all logits of a row are finite, bool [rows]: without, its token is 0.
    """
    from selfloop.domains.text.kernels.gpu import triton_decoding

    rows, vocabulary = logits.shape
    chosen = torch.empty(rows, dtype=torch.int64, device=logits.device)
    finite = torch.empty(rows, dtype=torch.bool, device=logits.device)
    scale = math.log2(math.e) / temperature
    block = min(TOKENS, power_of_two(vocabulary))
    triton_decoding.draw[(rows,)](
        logits, uniforms, chosen, finite, logits.stride(0), vocabulary, scale, BLOCK=block, num_warps=TOKEN_WARPS
    )  # fmt: skip
    return chosen, finite


def power_of_two(number: int) -> int:
    """The smallest that is at least `number`."""
    return 1 << (number - 1).bit_length()
