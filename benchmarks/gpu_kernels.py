"""The GPU kernels of training against PyTorch's operations, on one GPU, in less than a minute.

    python benchmarks/gpu_kernels.py [--plans]

Microseconds of the device per call, the median of several runs of a CUDA graph of calls, for attention forward and
backward in bfloat16 and for the head's loss with its gradient. Errors are the largest differences from float64, those
of attention over the largest number of it; "same" says whether two calls gave the same bytes. "Rotated" is Llama's
attention, rotary positions included: PyTorch's operations are not compiled here, so that what they cost is seen best
against ours without. With --plans, each of attention's kernels is timed in other sizes of blocks, numbers of warps and
of stages, too: the fastest belong in `causal_attention.PLANS`.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from selfloop.domains.text.kernels.gpu import head_loss as module
from selfloop.domains.text.kernels.gpu.causal_attention import PLANS, Blocks, Plan, causal_attention, launch
from selfloop.domains.text.kernels.gpu.head_loss import head_loss
from selfloop.domains.text.model.loss import IGNORED, _ignoring_error
from selfloop.domains.text.model.network import rotate, rotation_table
from selfloop.domains.text.model.shape import Shape
from selfloop.training.devices import describe, prepare_torch

SHAPES = [(32, 287, 16, 16), (32, 287, 12, 64), (32, 512, 8, 32), (32, 512, 8, 128)]
HEADS = [(32 * 287, 8000), (32 * 287, 32000)]  # rows and vocabulary
CALLS, RUNS = 10, 5
DEVICE = torch.device("cuda")


def microseconds(call: Callable[[], object]) -> float:
    """Of the device, per call."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(CALLS):
            call()
    times = []
    for _ in range(RUNS):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        graph.replay()
        ended.record()
        ended.synchronize()
        times.append(began.elapsed_time(ended) / CALLS * 1e3)
    return sorted(times)[RUNS // 2]


def rotation_of(length: int, size: int) -> Tensor:
    """The rotary positions of heads of a size."""
    return rotation_table(Shape("llama", size, 1, 1, size, length, 1)).to(DEVICE, torch.bfloat16)


def pytorch(qkv: Tensor, rotation: Tensor | None) -> Tensor:
    """Attention as PyTorch computes it."""
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    if rotation is not None:
        q, k = rotate(q, rotation), rotate(k, rotation)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


Attention = Callable[[Tensor, Tensor | None], Tensor]


def both(attend: Attention, qkv: Tensor, rotation: Tensor | None, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The result and the gradient of qkv."""
    out = attend(qkv, rotation)
    return out.detach(), torch.autograd.grad(out, qkv, gradient)[0]


def attention(shape: tuple[int, int, int, int], rotated: bool) -> None:
    """Print a line about PyTorch's and one about ours."""
    sequences, length, heads, size = shape
    torch.manual_seed(0)
    qkv = torch.randn(sequences, length, 3, heads, size, device=DEVICE).bfloat16().requires_grad_()
    gradient = torch.randn(sequences, length, heads, size, device=DEVICE).bfloat16()
    rotation = rotation_of(length, size) if rotated else None
    few = qkv.detach()[:2].double().requires_grad_()
    exact = both(pytorch, few, None if rotation is None else rotation.double(), gradient[:2].double())
    for name, attend in (("PyTorch", pytorch), ("ours", causal_attention)):
        found, again = (both(attend, qkv, rotation, gradient) for _ in range(2))
        errors = [
            ((mine[:2] - wanted).abs().max() / wanted.abs().max()).item()
            for mine, wanted in zip(found, exact, strict=True)
        ]
        same = all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
        with torch.no_grad():
            forward = microseconds(lambda attend=attend: attend(qkv, rotation))
        whole = microseconds(lambda attend=attend: both(attend, qkv, rotation, gradient))
        print(
            f"attention {list(shape)}{' rotated' * rotated} {name:8} forward {forward:6.1f} us, with backward "
            f"{whole:6.1f} us, errors {errors[0]:.1e} and {errors[1]:.1e}, same: {same}",
            flush=True,
        )


def tried(size: int) -> dict[str, list[Blocks]]:
    """What is timed of each kernel, first of all what it has."""
    plan, few = PLANS[size], [Blocks(64, 64, 4, stages) for stages in (1, 2, 3, 4)]
    wide = [Blocks(128, 64, 4, 2), Blocks(128, 64, 8, 2), Blocks(128, 128, 8, 2)]
    small = [Blocks(64, 32, 4, 2), Blocks(32, 32, 2, 2), Blocks(32, 32, 4, 2), Blocks(64, 64, 8, 2)]
    found = {"forward": [*few, *wide, *small], "backward_queries": [*few, *wide, *small]}
    found["backward_keys"] = [blocks._replace(queries=blocks.keys, keys=blocks.queries) for blocks in found["forward"]]
    return {kernel: list(dict.fromkeys((getattr(plan, kernel), *each))) for kernel, each in found.items()}


def plans(shape: tuple[int, int, int, int], rotated: bool) -> None:
    """Print the times of each kernel, the least first."""
    sequences, length, heads, size = shape
    case = f"{list(shape)}{' rotated' * rotated}"
    rotation = rotation_of(length, size) if rotated else None
    qkv = torch.randn(sequences, length, 3, heads, size, device=DEVICE).bfloat16()
    log_sums = torch.zeros(sequences, heads, -(-length // 128) * 128, device=DEVICE)  # for blocks of whatever size
    out, gradient, deltas, found = torch.zeros_like(qkv[:, :, 0]), qkv[:, :, 0].clone(), log_sums.clone(), qkv.clone()
    tensors = {
        "forward": (qkv, rotation, log_sums, out),
        "backward_queries": (qkv, rotation, log_sums, out, gradient, deltas, found),
        "backward_keys": (qkv, rotation, log_sums, gradient, deltas, found),
    }

    def call(kernel: str, blocks: Blocks) -> str:
        try:
            launch(kernel, blocks, *tensors[kernel])
        except Exception as error:  # more memory than a multiprocessor has, or registers
            return type(error).__name__
        return ""

    tasks = [(kernel, blocks) for kernel, each in tried(size).items() for blocks in each]
    with ThreadPoolExecutor() as pool:  # compiles them
        errors = list(pool.map(lambda task: call(*task), tasks))
    torch.cuda.synchronize()
    for (kernel, blocks), error in zip(tasks, errors, strict=True):
        if error:
            print(f"{case} {kernel} {tuple(blocks)}: {error}")
    for kernel in Plan._fields:
        times = []
        for (other, blocks), error in zip(tasks, errors, strict=True):
            if other == kernel and not error:
                times.append((microseconds(partial(launch, kernel, blocks, *tensors[kernel])), tuple(blocks)))
        usual = f"{tuple(getattr(PLANS[size], kernel))} {times[0][0]:.1f}" if times else "none"
        told = ", ".join(f"{blocks} {spent:.1f}" for spent, blocks in sorted(times)[:5])
        print(f"{case} {kernel}, us by (queries, keys, warps, stages): {told}; as it is {usual}", flush=True)


def head(rows: int, vocabulary: int) -> None:
    """Print a line about the loss of logits, of which a fifth is padding."""
    torch.manual_seed(0)
    logits = torch.randn(rows, vocabulary, device=DEVICE).bfloat16()
    targets = torch.randint(vocabulary, (rows,), device=DEVICE)
    targets[: rows // 5] = IGNORED
    given = logits.clone()
    losses = head_loss(given, targets, None, gradient=True)
    few = slice(rows // 5 - 8, rows // 5 + 8)
    leaf = logits[few].double().requires_grad_()
    exact = F.cross_entropy(leaf, targets[few], ignore_index=IGNORED, reduction="none")
    exact.sum().backward()
    again = logits.clone()
    same = torch.equal(losses, head_loss(again, targets, None, gradient=True)) and torch.equal(given, again)
    print(
        f"loss [{rows}, {vocabulary}]: errors {(losses[few] - exact).abs().max().item():.1e} and "
        f"{(given[few] - leaf.grad).abs().max().item():.1e}, same: {same}; PyTorch "
        f"{microseconds(lambda: _ignoring_error(logits.detach(), targets, None, True)):.1f} us",
        flush=True,
    )
    for block, warps in ((1024, 4), (2048, 4), (2048, 8), (4096, 8), (8192, 8), (8192, 16)):
        module.block_of = lambda _, chosen=(block, warps): chosen
        spent = microseconds(lambda: head_loss(given, targets, None, gradient=True))
        print(f"loss [{rows}, {vocabulary}] in blocks of {block}, {warps} warps: {spent:.1f} us", flush=True)


def main() -> None:
    """Print a line per shape and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plans", action="store_true")
    arguments = parser.parse_args()
    began = time.perf_counter()
    print(describe(prepare_torch(1, 1), torch.bfloat16))
    for shape in SHAPES:
        attention(shape, rotated=False)
    for shape in SHAPES[:2]:
        attention(shape, rotated=True)
    for rows, vocabulary in HEADS:
        head(rows, vocabulary)
    for shape in SHAPES[:2] if arguments.plans else ():  # minutes are spent on compiling more
        plans(shape, rotated=False)
        plans(shape, rotated=True)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
