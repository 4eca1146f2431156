"""Training the paper's GPT-2 (9M) and Llama-2 (12M): our loop, transformers.Trainer, and the processor's limit.

    python benchmarks/text_training.py [--threads 2] [--steps 6] [--models gpt2 llama] [--rounds 3]

Both train on the same made-up documents, whose lengths follow TinyStories' (log-normal, 212 tokens on average, 60 to
1,078), 32 to a batch, each side in a process of its own and with a model of transformers' sizes:

- **Trainer**: `transformers.Trainer` with `bf16=True`, fused AdamW, and the collator for language models, which pads
  each batch to its longest row. No evaluation, no saving, no reports. Dropout is off, as in ours.
- **ours**: the training loop of the domain text, one document per row, in bfloat16 and in the compute dtype that
  `precision: auto` selects here; and packed.

With `--rounds`, every side runs that often, in turn, and its best speed counts: other load only slows.

Tokens are predicted ones, without padding. The processor's limit is its rate of large bfloat16 products, measured here;
a model's FLOPs are counted as 6 x parameters x tokens. Machines without AMX multiply float32 faster than
bfloat16; a share above 1 of the bfloat16 rate is then possible.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfloop.config.training_length import TrainingLength
from selfloop.domains.text.config import Model
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.model.batches import DocumentTask, LanguageTask, Order, PackedTask
from selfloop.domains.text.model.network import build
from selfloop.domains.text.model.shape import parameter_count
from selfloop.processor import processor
from selfloop.training.loop import fit
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.resume import ResumeCheckpoint

SIZES = {"hidden_size": 256, "layers": 8, "intermediate_size": 1024, "vocabulary": 8000, "initializer_range": 0.02}
MODELS = {
    "gpt2": Model(architecture="gpt2", heads=16, context=2048, **SIZES),
    "llama": Model(architecture="llama", heads=8, context=2048, **SIZES),
}
DOCUMENTS, BATCH = 3200, 32
SIDES = ["trainer", "bfloat16", "float32", "auto", "packed-auto"]
WARM_UP = 2  # steps that are not timed
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def now() -> float:
    """Seconds by the clock of this process's environment."""
    return CLOCKS[os.environ.get("CLOCK", "wall")]()


def documents() -> list[np.ndarray]:
    """Random tokens between begin- and end-of-text, as long as stories are."""
    generator = np.random.default_rng(0)
    lengths = np.exp(generator.normal(5.287, 0.3485, DOCUMENTS)).astype(int).clip(60, 1078)
    return [np.concatenate([[0], generator.integers(1, 8000, length - 2), [0]]).astype("<u2") for length in lengths]


def ours(model: Model, steps: int, precision: str, packed: bool, device: torch.device) -> dict[str, float]:
    """Tokens and seconds of the timed steps."""
    rows = documents()
    store = TokenStore(np.concatenate(rows), np.cumsum([0, *map(len, rows)]))
    few = TokenStore(store.tokens, store.bounds[:3])
    task: LanguageTask = DocumentTask(store, few, Order(TrainingLength(epochs=1.0), BATCH, 0), device)
    if packed:  # rows of 512, about as many tokens in a batch
        task = PackedTask(store, few, Order(TrainingLength(epochs=1.0), 13, 0), 512, device)
    task.steps = WARM_UP + steps
    timed = Timed(task)
    settings = OptimizerConfig(1e-4, 0.1, 0.9, 0.95, 1.0, 1, precision)
    with tempfile.TemporaryDirectory() as folder:
        fit(build(model, 0), timed, settings, ResumeCheckpoint(Path(folder) / "s", "x", 1e9), device, lambda **_: Bar())
    return {"tokens": timed.tokens, "seconds": timed.ended - timed.began}


class Timed:
    """The task, with a look at the clock after the warm-up and before the evaluation at the end."""

    def __init__(self, task: LanguageTask) -> None:
        self.task = task
        self.steps, self.steps_per_epoch, self.unit = task.steps, task.steps_per_epoch, task.unit
        self.batch, self.loss, self.size = self.timed_batch, task.loss, task.size
        self.graph_key = task.graph_key
        self.tokens = 0
        self.began = self.ended = 0.0

    def timed_batch(self, step: int) -> Any:
        if step == WARM_UP:
            self.began = now()
        batch = self.task.batch(step)
        if step >= WARM_UP:
            self.tokens += self.task.size(batch)
        return batch

    def evaluate(self, model: torch.nn.Module) -> dict[str, float]:
        if next(model.parameters()).is_cuda:
            torch.cuda.synchronize()
        self.ended = now()
        return {"cross_entropy": 0.0}


class Bar:
    """Stands for a progress bar."""

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int) -> None:
        pass

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        pass


def trainer(model: Model, steps: int, device: torch.device) -> dict[str, float]:
    """The same with transformers.Trainer."""
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    common = {"vocab_size": model.vocabulary, "bos_token_id": 0, "eos_token_id": 0}
    if model.architecture == "gpt2":
        gpt2 = transformers.GPT2Config(
            n_embd=256, n_layer=8, n_head=16, n_positions=2048, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, **common
        )
        network: Any = transformers.GPT2LMHeadModel(gpt2)
    else:
        llama = transformers.LlamaConfig(
            hidden_size=256, num_hidden_layers=8, num_attention_heads=8, intermediate_size=1024, **common
        )
        network = transformers.LlamaForCausalLM(llama)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameter_count(model)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE({"[PAD]": 8000, "a": 1}, [])))
    tokenizer.pad_token = "[PAD]"
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False)
    seen = {"tokens": 0.0, "began": 0.0, "ended": 0.0, "batches": 0}

    def collate(rows: list[dict[str, Any]]) -> Any:
        batch = collator(rows)
        batch["input_ids"] = batch["input_ids"].clamp(max=model.vocabulary - 1)
        seen["batches"] += 1
        if seen["batches"] > WARM_UP:
            seen["tokens"] += sum(len(row["input_ids"]) - 1 for row in rows)
        return batch

    class Watch(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == WARM_UP:
                seen["began"] = now()
            if state.global_step == WARM_UP + steps:
                if device.type == "cuda":
                    torch.cuda.synchronize()
                seen["ended"] = now()

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            max_steps=WARM_UP + steps,
            bf16=True,
            optim="adamw_torch_fused",
            use_cpu=device.type == "cpu",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=device.type == "cuda",
        )
        rows = [{"input_ids": row.tolist()} for row in documents()]
        transformers.Trainer(network, arguments, collate, rows, callbacks=[Watch()]).train()
    # The loader is one batch ahead.
    batches = seen["batches"] - WARM_UP
    return {"tokens": seen["tokens"] * steps / batches, "seconds": seen["ended"] - seen["began"]}


def product_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second of the fastest large matrix product."""
    best = 0.0
    for size in (1024, 2048) if device.type == "cpu" else (8192,):
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        for _ in range(7):
            began = now()
            a @ b
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = max(best, 2 * size**3 / (now() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--clock", choices=list(CLOCKS), help="`cpu` with one thread, beside other load")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, help="ratios are to the first one")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.clock:
        os.environ["CLOCK"] = arguments.clock
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.run:
        side, name = arguments.run.split(":")
        model = MODELS[name]
        if side == "trainer":
            found = trainer(model, arguments.steps, device)
        else:
            found = ours(model, arguments.steps, side.removeprefix("packed-"), side.startswith("packed"), device)
        print(json.dumps(found))
        return
    rates = {dtype: product_rate(dtype, device) for dtype in (torch.bfloat16, torch.float32)}
    print(processor())
    print(f"{device}, {arguments.threads} threads; matrix products: ", end="")
    print(", ".join(f"{str(dtype)[6:]} {rate / 1e9:,.0f} GFLOP/s" for dtype, rate in rates.items()))
    print(f"\n{'model':<8}{'side':<18}{'tokens/s':>10}{'ratio':>8}{'GFLOP/s':>10}{'of bfloat16 rate':>18}")
    command = [sys.executable, __file__, "--threads", str(arguments.threads), "--steps", str(arguments.steps)]
    for name in arguments.models:
        best = dict.fromkeys(arguments.sides, 0.0)
        for _ in range(arguments.rounds):
            for side in best:
                done = subprocess.run(
                    [*command, "--run", f"{side}:{name}"], stdout=subprocess.PIPE, check=True, text=True
                )
                found = json.loads(done.stdout.splitlines()[-1])
                best[side] = max(best[side], found["tokens"] / found["seconds"])
        for side, speed in best.items():
            flops = 6 * parameter_count(MODELS[name]) * speed
            print(
                f"{name:<8}{side:<18}{speed:>10,.0f}{speed / best[arguments.sides[0]]:>8.2f}{flops / 1e9:>10,.0f}"
                f"{flops / rates[torch.bfloat16]:>18.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
