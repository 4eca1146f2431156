"""Fine-tuning and sampling of a checkpoint, against `transformers.Trainer` and a `generate` loop written by hand.

    python benchmarks/fine_tuning.py [--hidden-size 256] [--layers 4] [--steps 20] [--threads 1]

One model, the same batches in the same order, one run, in turns: CPU seconds of a training of all weights and of LoRA,
the minimum of three, with its mean loss, and sampled tokens per CPU second, the maximum of three. With one thread, what
else the machine does hardly counts; with more, threads that wait count, too.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast, Trainer, TrainingArguments

from selfloop.domains.text.config import Adapter, Model, Sampling, Training
from selfloop.domains.text.data.token_store import TokenStore
from selfloop.domains.text.data.tokenizer import train_tokenizer
from selfloop.domains.text.model.batches import DocumentTask, Order
from selfloop.domains.text.model.pretrained import adapt, begin_pretrained, save_pretrained
from selfloop.domains.text.sampling import transformers_engine
from selfloop.domains.text.sampling.engine import Request
from selfloop.training.loop import fit
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.resume import ResumeCheckpoint

RANK, LENGTH, BATCH, VOCABULARY, REPEATS = 16, 128, 16, 8000, 3
TRAINING = Training(
    epochs=1.0, batch_size=BATCH, learning_rate=1e-4, final_learning_rate=1.0, warmup_steps=0, weight_decay=0.0,
    beta2=0.999, evaluations=1, precision="float32",
)  # fmt: skip


def main() -> None:
    """Print a line for each comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--documents", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make(folder, asked.hidden_size, asked.layers)
        for what, lora in (("all weights", False), ("LoRA", True)):
            ours, theirs = [], []
            for repeat in range(REPEATS):
                ours.append(train_ours(source, folder / f"{what} {repeat}", asked.steps, lora))
                theirs.append(train_theirs(source, folder, asked.steps, lora))
            (mine, loss), (trainers, trainers_loss) = min(ours), min(theirs)
            print(
                f"{what}: {mine:.2f} CPU s, Trainer {trainers:.2f} CPU s, {trainers / mine:.2f} times as fast;", end=" "
            )
            print(f"losses {loss:.5f} and {trainers_loss:.5f}")
        rates = [sample_both(folder / "all weights 0", asked.documents) for _ in range(REPEATS)]
        engine, loop = (max(rate[side] for rate in rates) for side in (0, 1))
        print(f"sampling: {engine:,.0f} tokens per CPU s, by hand {loop:,.0f}, {engine / loop:.2f} times as fast")


def make(folder: Path, hidden: int, layers: int) -> Path:
    """A GPT-2 of random weights with a tokenizer, as `save_pretrained` writes it."""
    torch.manual_seed(0)
    config = GPT2Config(
        n_embd=hidden, n_layer=layers, n_head=hidden // 32, n_positions=LENGTH, vocab_size=VOCABULARY,
        bos_token_id=0, eos_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "source")
    tokenizer = train_tokenizer(["a b c"], 300)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder / "source")
    return folder / "source"


def batches(steps: int) -> DocumentTask:
    """Documents of random tokens, in the batches that both trainings have."""
    ids = np.random.default_rng(0).integers(1, 290, (steps * BATCH, LENGTH))
    ids[:, 0] = 0
    store = TokenStore(ids.ravel().astype("<u2"), np.arange(len(ids) + 1) * LENGTH)
    return DocumentTask(store, store.first(1), Order(TRAINING, BATCH, 0), torch.device("cpu"))


class InOrder(Trainer):
    """A trainer that does not shuffle."""

    def _get_train_sampler(self, *_: object) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)


def train_ours(source: Path, folder: Path, steps: int, lora: bool) -> tuple[float, float]:
    """CPU seconds of a training, and its mean loss."""
    section = Model(checkpoint=str(source), context=LENGTH)
    model = begin_pretrained(section, 0, fresh=False)
    if lora:
        adapt(model, Adapter(rank=RANK), section, 0, None)
    task = batches(steps)
    resume = ResumeCheckpoint(folder / "state", "benchmark", 1e9)
    began = time.process_time()
    result = fit(model, task, OptimizerConfig.of(TRAINING), resume, task.device)
    took = time.process_time() - began
    folder.mkdir()
    save_pretrained(model, result.weights, section, folder)
    return took, float(result.curve[-1]["loss"])


def train_theirs(source: Path, folder: Path, steps: int, lora: bool) -> tuple[float, float]:
    """The same by `Trainer`, with PEFT for LoRA."""
    model = AutoModelForCausalLM.from_pretrained(source)
    if lora:
        torch.manual_seed(0)
        model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=RANK, task_type="CAUSAL_LM"))
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), per_device_train_batch_size=BATCH, num_train_epochs=1, learning_rate=1e-4,
        lr_scheduler_type="constant", weight_decay=0.0, report_to=[], save_strategy="no", logging_strategy="no",
        disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False,
    )  # fmt: skip
    task = batches(steps)
    data = []
    for ids in (torch.from_numpy(row.astype(np.int64)) for step in range(steps) for row in task.rows(step)):
        # The first token is predicted by nothing, and Trainer would count it in its mean.
        data.append({"input_ids": ids, "labels": torch.cat([torch.tensor([-100]), ids[1:]])})
    began = time.process_time()
    result = InOrder(model=model, args=arguments, train_dataset=data).train()
    return time.process_time() - began, float(result.training_loss)


def sample_both(checkpoint: Path, documents: int) -> tuple[float, float]:
    """Sampled tokens per CPU second through the engine, and of `generate` at the same batch."""
    prompts = np.zeros((documents, 1), dtype=np.int64)
    began = time.process_time()
    request = Request(checkpoint, prompts, Sampling(), "benchmark", "float32", torch.get_num_threads(), end=0)
    ours = sum(len(ids) - 1 for ids in transformers_engine.sample(request)) / (time.process_time() - began)
    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    ids = torch.zeros(min(documents, transformers_engine.BATCH["cpu"]), 1, dtype=torch.int64)
    began = time.process_time()
    sampled = 0
    for _ in range(-(-documents // len(ids))):
        found = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, max_length=LENGTH, pad_token_id=0
        )
        ends = (found[:, 1:] == 0).int().cumsum(dim=1)
        sampled += int(((ends == 0) | ((ends == 1) & (found[:, 1:] == 0))).sum())
    return ours, sampled / (time.process_time() - began)


if __name__ == "__main__":
    main()
