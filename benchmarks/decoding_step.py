"""Where a token's time goes while the paper's GPT-2 (9M) is sampled: attention, products, choice, and the rest.

    python benchmarks/decoding_step.py [--documents 256] [--length 128] [--threads 2] [--rounds 10] [--precision auto]

Each thread samples this number of documents at once, as a part's threads do. Clocks around each call; microseconds of a
thread per token, averaged over the positions: the least of all rounds at each position, which other load does not show
in, and the median. The cache's pages are taken anew in each round.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import mean, median
from threading import local
from typing import Any

import torch
from torch import nn

from selfloop.domains.text.config import Model, Sampling
from selfloop.domains.text.model.blocked_cache import BlockedMemory
from selfloop.domains.text.model.network import Transformer, build
from selfloop.domains.text.sampling import amx, sampler
from selfloop.domains.text.sampling.onednn import PackedLinear
from selfloop.domains.text.sampling.packing import pack
from selfloop.processor import processor
from selfloop.training.devices import cache_dtype, compute_dtype, prepare_torch

SIZES = {"hidden_size": 256, "layers": 8, "heads": 8, "intermediate_size": 1024, "vocabulary": 8000}
PARTS = {
    "attention": (BlockedMemory, "attend"),
    "between two attentions": (amx.TiledDecoder, "_run"),
    "products by oneDNN": (PackedLinear, "forward"),
    "norms by torch": (nn.LayerNorm, "forward"),
    "choice": (sampler, "choose"),
}
WITH_LOGITS = "logits and choice"


class Clocks:
    """Seconds of each part in the present step of each thread, and microseconds per token of those before."""

    def __init__(self) -> None:
        self.found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._of_thread = local()

    def around(self, part: str, run: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return run(*given, **named)
            finally:
                self._of_thread.parts[part] += time.perf_counter() - began

        return timed

    def begin(self) -> None:
        """A document begins in this thread."""
        self._of_thread.position = 0
        self.step()

    def step(self, tokens: int = 0) -> None:
        """A step that sampled this number of tokens has ended."""
        own, now = self._of_thread, time.perf_counter()
        if tokens:
            for part, seconds in [*own.parts.items(), ("all", now - own.began)]:
                self.found[part][own.position].append(seconds / tokens * 1e6)
        own.position, own.parts, own.began = own.position + 1, defaultdict(float), time.perf_counter()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=256)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--precision", choices=["auto", "bfloat16", "float32"], default="auto")
    arguments = parser.parse_args()
    device = prepare_torch(1)
    dtype = compute_dtype(arguments.precision, device)
    model: Transformer = (
        build(Model(architecture="gpt2", context=2048, initializer_range=0.02, **SIZES), seed=0).to(dtype).eval()
    )
    pack(model, arguments.documents)
    clocks = Clocks()
    for part, (owner, name) in PARTS.items():
        setattr(owner, name, clocks.around(part, getattr(owner, name)))
    amx.drawn = lambda hidden, drawn=amx.drawn: clocks.around(WITH_LOGITS, drawn(hidden))
    sampling = Sampling(max_length=arguments.length, allow_unended=True)
    prompts = torch.zeros(arguments.documents, 1, dtype=torch.int64)

    def sample(first_row: int) -> None:
        clocks.begin()
        sampler.sample(model, prompts, sampling, "", clocks.step, first_row, cache_dtype(arguments.precision))

    rows = [sampler.BLOCK * -(-arguments.documents // sampler.BLOCK) * thread for thread in range(arguments.threads)]
    with ThreadPoolExecutor(arguments.threads) as pool:
        for _ in range(arguments.rounds):
            list(pool.map(sample, rows))
    print(processor())
    print(
        f"{arguments.threads} threads with {arguments.documents} documents of {arguments.length} tokens each, {dtype}\n"
    )
    print(f"{'us per token':<26}{'least':>8}{'median':>9}")
    for part, at in clocks.found.items():
        print(f"{part:<26}{mean(map(min, at.values())):>8.1f}{mean(map(median, at.values())):>9.1f}")


if __name__ == "__main__":
    main()
