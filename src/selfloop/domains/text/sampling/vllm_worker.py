"""The worker of the engine `vllm`, run by vLLM's interpreter: arrays in, arrays out.

Needs only numpy and vLLM. Started by `vllm_engine` with a folder that holds TASK and PROMPTS; leaves TOKENS and LENGTHS
there, or PROBLEM and the exit code REFUSED.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np

if TYPE_CHECKING:
    import vllm
    from torch import Tensor, nn

from selfloop.identity import stream
from selfloop.processes.lifetime import die_with_parent

TASK, PROMPTS, TOKENS, LENGTHS, PROBLEM = "task.json", "prompts.npy", "tokens.npy", "lengths.npy", "problem.txt"
PROGRESS = "selfloop-tokens"  # prefix of progress lines among vLLM's output
DEVICE = "selfloop-device"  # of the line that says what it computes on
REFUSED = 3  # exit code: PROBLEM says why
SEQUENCES = {"cpu": 256, "cuda": 1024}  # per batch: vLLM's defaults on two cores and on a large GPU
BLOCK = {"cpu": 128, "cuda": 16}  # tokens per block of vLLM's KV cache
CACHE_FRACTION = 0.5  # of a GPU's memory, at most; vLLM preempts sequences that do not fit


class Sampling(TypedDict):
    """The config's entry of `sampling`."""

    temperature: float
    top_k: int | None
    top_p: float | None
    min_p: NotRequired[float]
    repetition_penalty: NotRequired[float]
    max_length: int | None


class Task(TypedDict):
    """What `vllm_engine` asks for."""

    checkpoint: str
    sampling: Sampling
    streams: str
    first_row: int
    precision: str
    tokens: int | None
    end: int
    threads: int
    promised: str | None
    parent: int


class Config(TypedDict, total=False):
    """What is read of a checkpoint's config.json: of GPT-2 and of others."""

    selfloop: dict[str, int]
    n_positions: int
    max_position_embeddings: int
    n_layer: int
    num_hidden_layers: int
    n_head: int
    num_attention_heads: int
    head_dim: int
    n_embd: int
    hidden_size: int


class Refused(Exception):
    """vLLM cannot serve the request; the message is for the user."""


def main(folder: Path) -> int:
    """Run the folder's task; returns the exit code."""
    task: Task = json.loads((folder / TASK).read_text(encoding="utf-8"))
    die_with_parent(task["parent"])  # a step that is killed leaves no worker behind
    prompts = np.load(folder / PROMPTS, allow_pickle=False)
    try:
        documents = sample(task, prompts)
    except Refused as problem:
        (folder / PROBLEM).write_text(str(problem), encoding="utf-8")
        return REFUSED
    np.save(folder / LENGTHS, np.array([len(ids) for ids in documents], dtype=np.int64), allow_pickle=False)
    np.save(folder / TOKENS, np.concatenate(documents), allow_pickle=False)
    return 0


def sample(task: Task, prompts: np.ndarray) -> list[np.ndarray]:
    """A document per prompt, int32: prompt, sampled tokens, end-of-text if it ended within the maximum length.

    Every document has a random stream of its own, so the composition of batches affects nothing but rounding.

    Raises:
        Refused: vLLM has no kernel for the model's heads.
    """
    sampling = task["sampling"]
    count, longest_prompt = prompts.shape
    config: Config = json.loads((Path(task["checkpoint"]) / "config.json").read_text(encoding="utf-8"))
    context = config.get("selfloop", {}).get("context")  # of a checkpoint that the study did not define
    longest = sampling["max_length"] or context or config.get("n_positions") or config["max_position_embeddings"]
    if longest_prompt >= longest or count == 0:
        return list(prompts[:, :longest].astype(np.int32))
    engine, most = _engine(task, config, longest)
    _report(0)
    options = {
        "temperature": sampling["temperature"],
        "top_k": sampling["top_k"] or 0,
        "top_p": sampling["top_p"] or 1.0,
        "min_p": sampling.get("min_p", 0.0),
        "repetition_penalty": sampling.get("repetition_penalty", 1.0),
    }
    given = [ids[ids >= 0] for ids in prompts]
    documents: list[np.ndarray] = [prompts[0]] * count
    waiting: Iterator[int] = iter(range(count))
    unfinished = 0
    while True:
        # Enough to keep the batch full; queueing a whole part would cost kilobytes per document.
        while unfinished < 2 * most and (row := next(waiting, None)) is not None:
            seed = stream(task["streams"], f"document {task['first_row'] + row}")
            asked = {**options, "max_tokens": longest - len(given[row])}
            engine.add_request(str(row), {"prompt_token_ids": given[row].tolist()}, _params(asked, seed, task["end"]))
            unfinished += 1
        if unfinished == 0:
            return documents
        sampled = 0
        for output in engine.step():
            if output.finished:
                ids = output.outputs[0].token_ids
                row = int(output.request_id)
                documents[row] = np.concatenate([given[row], np.asarray(ids)]).astype(np.int32)
                sampled += len(ids)
                unfinished -= 1
        if sampled:
            _report(sampled)


def _params(options: Mapping[str, float], seed: int, end: int) -> "vllm.SamplingParams":
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        **options,
        seed=seed,
        stop_token_ids=[end],
        ignore_eos=True,  # see the line above; ignores the checkpoint's generation_config.json
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _engine(task: Task, config: Config, longest: int) -> tuple["vllm.LLMEngine", int]:
    """A vLLM engine and its batch size."""
    import torch
    import vllm
    from vllm import EngineArgs, LLMEngine
    from vllm.platforms import current_platform

    from selfloop.training.devices import compute_dtype, describe, total_memory

    device = "cpu" if current_platform.is_cpu() else "cuda"
    if device == "cpu" and task["promised"]:
        raise Refused(
            f"the step requested a GPU ({task['promised']}), and this vLLM is built for CPUs: {sys.executable}. "
            "Install its CUDA build with make vllm-gpu, or set SELFLOOP_GPUS= (nothing) to sample on the CPU."
        )
    dtype = compute_dtype(task["precision"], torch.device(device))
    if device == "cpu":
        _check_head_size(_widths(config)[0], task["checkpoint"])
    most = SEQUENCES[device]
    told = str(dtype).removeprefix("torch.")
    print(f"vLLM {vllm.__version__} on {device}, {told}, {most} sequences", flush=True)
    arguments = EngineArgs(
        model=task["checkpoint"],
        skip_tokenizer_init=True,  # token ids go in and come out
        dtype=told,
        seed=0,  # every request has its own
        max_model_len=longest,
        max_num_seqs=most,
        enable_prefix_caching=False,  # prompts share at most two tokens
        disable_log_stats=True,
        generation_config="vllm",  # ignore the checkpoint's defaults
        **_options(device, config, longest, dtype.itemsize, total_memory(torch.device(device))),
    )
    engine = LLMEngine.from_engine_args(arguments)
    print(DEVICE, json.dumps(asdict(describe(torch.device(device), dtype))), flush=True)
    if task["tokens"] is not None:
        # Not `allowed_token_ids`, which one of vLLM's two GPU runners limits to 1024.
        engine.apply_model(partial(_mask_logits, tokens=task["tokens"]))
    return engine, most


def _options(device: str, config: Config, longest: int, itemsize: int, memory: int) -> dict[str, object]:
    """Arguments of vLLM's engine that depend on the device and the size of the model.

    Args:
        device: "cpu" or "cuda".
        config: the checkpoint's config.json.
        longest: tokens of the longest sequence.
        itemsize: bytes per value of the KV cache.
        memory: bytes of the device.
    """
    hidden = _widths(config)[1]
    layers = config.get("n_layer") or config["num_hidden_layers"]
    most, block = SEQUENCES[device], BLOCK[device]
    blocks = most * -(-longest // block) + most  # all sequences at their longest, and some to spare
    cache = blocks * block * layers * 2 * hidden * itemsize
    if device == "cpu":
        # Compiling takes longer than it saves on all but the longest runs: benchmarks/sampling.py measures both.
        return {"kv_cache_memory_bytes": cache, "enforce_eager": not os.environ.get("SELFLOOP_VLLM_COMPILE")}
    return {
        # Otherwise vLLM wants 92% of the GPU to be free, though something else may use it.
        "kv_cache_memory_bytes": min(cache, int(CACHE_FRACTION * memory)),
        # By default, CUDA graphs end at 512 sequences on Hopper, so that full batches would run without.
        "max_cudagraph_capture_size": most,
    }


def _widths(config: Config) -> tuple[int, int]:
    """Width of an attention head, and of all."""
    heads = config.get("n_head") or config["num_attention_heads"]
    size = config.get("head_dim") or (config.get("n_embd") or config["hidden_size"]) // heads
    return size, heads * size


def _mask_logits(model: "nn.Module", tokens: int) -> None:
    """Never sample ids from `tokens` on."""

    def mask(_module: object, _arguments: object, logits: "Tensor | None") -> "Tensor | None":
        if logits is not None:
            logits[..., tokens:] = float("-inf")
        return logits

    model.get_submodule("logits_processor").register_forward_hook(mask)


def _check_head_size(size: int, checkpoint: str) -> None:
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    allowed = CPUAttentionBackend.get_supported_head_sizes()
    if size not in allowed:
        raise Refused(
            f"vLLM cannot sample from {checkpoint} on a CPU: its attention heads are {size} wide "
            f"(model.hidden_size / model.heads). Allowed: {', '.join(map(str, allowed))}, or sampling.engine: torch."
        )


def _report(tokens: int) -> None:
    print(PROGRESS, tokens, flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
