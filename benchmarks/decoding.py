"""Attention of one new position and the choice of a token, on one core: our kernels against PyTorch's operations.

    python benchmarks/decoding.py [--heads 8 16 32 64 128] [--positions 32 128 256]

Microseconds of CPU time per document and layer, the least of several rounds, for a width of 256 in heads of these
sizes, 256 documents and 8 layers, as in sampling: the cache is read from memory, not from a processor's cache.
PyTorch's is scaled_dot_product_attention on the layout that GPUs have. The bound is reading the cache at the rate of a
large sum, which is in pages of 4 KB: the cache may be read faster.
"""

import argparse
import time
from collections.abc import Callable

import torch

from selfloop.domains.text.config import Sampling
from selfloop.domains.text.model.blocked_cache import BlockedMemory
from selfloop.domains.text.model.kv_cache import CacheMemory, TorchMemory
from selfloop.domains.text.model.shape import Shape
from selfloop.domains.text.sampling.sampler import choose, choose_with_torch
from selfloop.processor import processor

WIDTH, LAYERS, DOCUMENTS, VOCABULARY = 256, 8, 256, 8000
ROUNDS = 7


def best_seconds(run: Callable[[], object]) -> float:
    """The least CPU time of several runs."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return min(times)


def attention(memory: CacheMemory, qkv: torch.Tensor, positions: int) -> float:
    """Microseconds per document and layer, with `positions` in the cache."""
    out = torch.empty_like(qkv[:, 0])
    for layer in range(LAYERS):
        memory.filled(layer, positions).fill_(0.01)

    def step() -> None:
        for layer in range(LAYERS):
            memory.attend(layer, 0, positions - 1, qkv, out)

    return best_seconds(step) / LAYERS / DOCUMENTS * 1e6


def main() -> None:
    """Print a table of attention, and a line of choosing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", nargs="+", type=int, default=[8, 16, 32, 64, 128], metavar="SIZE")
    parser.add_argument("--positions", nargs="+", type=int, default=[32, 128, 256])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    numbers = torch.ones(2**27)
    rate = numbers.nbytes / best_seconds(numbers.sum)
    del numbers
    print(f"{processor()}; reading memory {rate / 1e9:.1f} GB/s")
    print(f"{'cache':<10}{'head':>6}{'positions':>11}{'torch':>9}{'ours':>9}{'ratio':>8}{'bound':>9}   us")
    for dtype in (torch.bfloat16, torch.float32):
        for size in arguments.heads:
            shape = Shape("gpt2", WIDTH, LAYERS, WIDTH // size, 1, max(arguments.positions), VOCABULARY)
            qkv = torch.randn(DOCUMENTS, 3, shape.heads, size)
            ours = BlockedMemory(shape, DOCUMENTS, shape.context, dtype)
            theirs = TorchMemory(shape, DOCUMENTS, shape.context, dtype, qkv.device)
            for positions in arguments.positions:
                slow, fast = (attention(memory, qkv, positions) for memory in (theirs, ours))
                bound = 2 * WIDTH * positions * dtype.itemsize / rate * 1e6
                name = str(dtype).removeprefix("torch.")
                print(f"{name:<10}{size:>6}{positions:>11}{slow:>9.1f}{fast:>9.1f}{slow / fast:>8.1f}{bound:>9.1f}")
    logits, uniforms = torch.randn(DOCUMENTS, VOCABULARY), torch.rand(DOCUMENTS)
    slow, fast = (
        best_seconds(lambda way=way: way(logits, uniforms, Sampling())) / DOCUMENTS * 1e6  # type: ignore[misc]
        for way in (choose_with_torch, choose)
    )
    print(f"a token of {VOCABULARY:,}: torch {slow:.1f}, ours {fast:.1f} us")


if __name__ == "__main__":
    main()
