"""`selfloop check-gpu`: whether a GPU computes what it should, the same twice, and how fast; in at most ten minutes.

With `--tiny`, the same on the smallest models, also on a CPU: it tries the command, and measures nothing of interest.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from selfloop.checksums import measured
from selfloop.domains.image.config import Training as ImageTraining
from selfloop.domains.image.model.network import Shape
from selfloop.domains.image.model.network import build as build_image
from selfloop.domains.image.model.sampler import sample as sample_images
from selfloop.domains.image.steps.train import ImageTask
from selfloop.domains.molecule.config import Model as MoleculeModel
from selfloop.domains.molecule.data.conformations import Conformations, Floats
from selfloop.domains.molecule.model.network import build as build_molecule
from selfloop.domains.molecule.model.noise_schedule import sigmas
from selfloop.domains.molecule.steps.train import ConformationTask
from selfloop.domains.text.config import Model
from selfloop.domains.text.kernels.gpu import decoding
from selfloop.domains.text.kernels.gpu.triton_available import triton_attends
from selfloop.domains.text.model.batches import DocumentTask
from selfloop.domains.text.model.network import attention_backend, build
from selfloop.domains.text.model.shape import parameter_count, shape_of
from selfloop.domains.text.sampling.torch_engine import any_order
from selfloop.domains.text.sampling.vllm_python import find_vllm
from selfloop.errors import UserError
from selfloop.numbers import size
from selfloop.operations.gpu import language
from selfloop.operations.gpu.findings import Check, Found, found_by, markdown
from selfloop.operations.gpu.launches import of_sampling_step, of_training_step
from selfloop.processes.group import PROMISED
from selfloop.processes.stopping import Stopped, caught
from selfloop.training.devices import compute_dtype, describe, prepare_torch
from selfloop.training.loop import Batch, Task, fit
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.resume import ResumeCheckpoint
from selfloop.training.triton_available import triton_runs_on

SECONDS = 600.0
MFU = {"GPT-2 9M": 0.2, "Llama 12M": 0.2, "Llama 126M": 0.4}  # shares of bfloat16's peak that training should reach
TOKENS_PER_SECOND = 1.5e6  # of the 9M model's sampling
PAPERS_STORIES = 2_119_719  # of a part, each slice of which has 33,280
NEW_LENGTH = {"sampling": 1.0, "training": 5.0}  # milliseconds of attention at a length that is new
STUDY = """experiments:
  check:
    domain: text
    data: {source: packaged, name: shakespeare, min_characters: 80, rows: 64, test_rows: 16}
    model: {architecture: gpt2, hidden_size: 16, layers: 1, heads: 2, context: 32, vocabulary: 300}
    training: {epochs: 1, batch_size: 8, evaluations: 2}
    sampling: [{temperature: 1.0, allow_unended: true}]
    regimes: [replace]
    iterations: 2
    seeds: [0]
"""


class GPUCheck:
    """The checks, in the order in which they run.

    Args:
        tiny: the smallest models and the fewest steps.
    """

    def __init__(self, tiny: bool) -> None:
        self.tiny = tiny
        self.device = prepare_torch(threads=min(4, os.cpu_count() or 1), gpus=1)
        self.cuda = self.device.type == "cuda"
        self.models = language.TINY if tiny else language.PAPER
        self.batch = 4 if tiny else language.BATCH
        self.peak = 0.0

    @property
    def checks(self) -> dict[str, Check]:
        """By name."""
        correct = (self.machine, self.refusal, self.attention, self.waits, self.twice, self.resumed)
        fast = (self.training, self.sampling, self.images, self.molecules)
        return {check.__name__: check for check in (*correct, *fast, self.studies, self.compiled)}

    def wait(self) -> None:
        """Until the device has done what was asked of it."""
        if self.cuda:
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], object], times: int) -> float:
        """The mean time of a call, the device's work included."""
        self.wait()
        began = time.perf_counter()
        for _ in range(times):
            call()
        self.wait()
        return (time.perf_counter() - began) / times

    def machine(self) -> Iterator[Found]:
        """What it is, how torch is set up, and how fast its matrix products are."""
        dtype = compute_dtype("auto", self.device)
        yield "device", str(describe(self.device, dtype)), self.cuda or self.tiny
        if self.cuda:
            cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
            built = f"{torch.version.cuda}, cuDNN {cudnn}, {torch.cuda.get_arch_list()}"
            yield "CUDA of torch", built, None
            shape = shape_of(language.PAPER["GPT-2 9M"])
            for name, causal in (("training", True), ("sampling", False)):
                backend = attention_backend(shape, self.device, dtype, causal)
                yield f"attention of {name}", backend, "CUDNN" not in backend and "MATH" not in backend
            flags = {
                "deterministic": torch.are_deterministic_algorithms_enabled(),
                "strict": not torch.is_deterministic_algorithms_warn_only_enabled(),
                "no filling": not torch._C._get_deterministic_fill_uninitialized_memory(),
                "no cuDNN attention": not torch._C._get_cudnn_sdp_enabled(),
                "no TF32": not (torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32),
            }
            yield "settings", ", ".join(f"{key} {value}" for key, value in flags.items()), all(flags.values())
        n = 256 if self.tiny else 8192
        a, b = (torch.randn(n, n, device=self.device).bfloat16() for _ in range(2))
        self.seconds(lambda: a @ b, 3)
        self.peak = 2 * n**3 / self.seconds(lambda: a @ b, 10)
        yield "bfloat16 products", f"{self.peak / 1e12:.3g} TFLOP/s", None

    def refusal(self) -> Iterator[Found]:
        """A step that was promised a GPU and sees none stops with a sentence."""
        program = "from selfloop.training.devices import prepare_torch; prepare_torch(1, 1)"
        around = {**os.environ, "CUDA_VISIBLE_DEVICES": "99", PROMISED: "selfloop check-gpu asks for one"}
        done = subprocess.run([sys.executable, "-P", "-c", program], env=around, capture_output=True, encoding="utf-8")
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        said = [said[0].removeprefix("selfloop.errors.")]
        yield "a GPU that is not there", said[0], done.returncode != 0 and "UserError" in said[0]

    def attention(self) -> Iterator[Found]:
        """A length that is new costs no more than a known one: some backends build a plan for each."""
        rows, heads, width = (8, 4, 8) if self.tiny else (512, 16, 16)
        dtype = compute_dtype("auto", self.device)
        memory = torch.randn(rows, 257, 2, heads, width, device=self.device, dtype=dtype)
        token = torch.randn(rows, 3, heads, width, device=self.device, dtype=dtype)
        out = torch.empty(rows, heads, width, device=self.device, dtype=dtype)
        moves = torch.ones(rows, device=self.device, dtype=torch.bool)

        def sampling(length: int) -> None:
            if triton_runs_on(self.device):
                decoding.attend(token, memory, torch.full((rows,), length, device=self.device), moves, out)
                return
            keys, values = memory[:, :length].permute(2, 0, 3, 1, 4)
            with torch.inference_mode():
                F.scaled_dot_product_attention(token[:, 0, :, None], keys, values)

        def training(length: int) -> None:
            qkv = torch.randn(8, length, 3, heads, width, device=self.device, dtype=dtype, requires_grad=True)
            if triton_attends(self.device, dtype, width):
                from selfloop.domains.text.kernels.gpu.causal_attention import causal_attention

                torch.autograd.backward(causal_attention(qkv).sum())
                return
            queries, keys, values = qkv.permute(2, 0, 3, 1, 4)
            torch.autograd.backward(F.scaled_dot_product_attention(queries, keys, values, is_causal=True).sum())

        for name, call in {"sampling": sampling, "training": training}.items():
            first, again = self._new_and_known(call, 4 if self.tiny else 40)
            said = f"{first:.2f} ms at a new length, {again:.2f} ms at a known one"
            yield name, said, first < NEW_LENGTH[name] if self.cuda else None

    def _new_and_known(self, call: Callable[[int], None], times: int) -> tuple[float, float]:
        """Milliseconds of a call at lengths that are new, and at one that is not."""
        call(60)
        lengths = iter(range(61, 61 + times))
        first = self.seconds(lambda: call(next(lengths)), times)
        return 1e3 * first, 1e3 * self.seconds(lambda: call(61), times)

    def waits(self) -> Iterator[Found]:
        """A step of training, or of sampling in lanes, launches all its work without waiting for the device."""
        for name, model in self.models.items():
            task = language.task_of(model, 1, self.device, self.batch)
            launches = of_training_step(build(model, 0).to(self.device), task, compute_dtype("auto", self.device))
            yield name, f"{launches.total} launches, waits: {launches.waits or 'none'}", not launches.waits
        with any_order(self.cuda):
            launches = of_sampling_step(build(model, 0).to(self.device), 2)
        yield f"{name}, sampling", f"{launches.total} launches, waits: {launches.waits or 'none'}", not launches.waits

    def twice(self) -> Iterator[Found]:
        """The same training has the same bytes."""
        steps = 4 if self.tiny else 40
        for name, model in list(self.models.items())[: 1 if self.tiny else None]:
            task = language.task_of(model, steps, self.device, self.batch)
            sums = [self._trained(model, task, False)[0] for _ in range(2)]
            yield f"{name}, eager", " and ".join(sums), len(set(sums)) == 1

    def _trained(self, model: Model, task: DocumentTask, compiled: bool) -> tuple[str, float, str]:
        """The weights' checksum of a training, its model FLOP utilisation, and all that in words.

        By 6 FLOPs per parameter and predicted token.
        """
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        bar = language.Steps()
        with tempfile.TemporaryDirectory() as folder:
            total = language.trained(model, task, self.device, Path(folder), compiled, bar)
        middle, longest = language.milliseconds(bar)
        share = 6 * parameter_count(model) * task.tokens_per_batch / (middle / 1e3) / max(self.peak, 1.0)
        memory = f", {size(torch.cuda.max_memory_allocated())} at most" if self.cuda else ""
        return total, share, f"{middle:.2f} ms a step (longest {longest:.0f}), MFU {share:.1%}{memory}"

    def resumed(self) -> Iterator[Found]:
        """A training that is stopped in the middle ends with the bytes of one that is not."""
        steps = 6 if self.tiny else 40
        model = self.models["GPT-2 9M"]
        task = language.task_of(model, steps, self.device, self.batch)
        with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as cut:
            expected = language.trained(model, task, self.device, Path(whole), False)
            stop = language.Steps(steps // 2, partial(os.kill, os.getpid(), signal.SIGTERM))
            said = "it was not stopped"
            with caught([signal.SIGTERM]):
                try:
                    language.trained(model, task, self.device, Path(cut), False, stop)
                except Stopped as stopped:
                    said = str(stopped).split(";")[0]
            found = language.trained(model, task, self.device, Path(cut), False)
        yield said, f"{expected} and {found}", expected == found and "stopped at" in said

    def training(self) -> Iterator[Found]:
        """How fast language models train, the capturing of CUDA graphs aside."""
        for name, model in self.models.items():
            yield self._speed(name, model, compiled=False)[0]

    def _speed(self, name: str, model: Model, compiled: bool) -> tuple[Found, str]:
        """How fast one trains, and the weights' checksum."""
        task = language.task_of(model, 8 if self.tiny else 200, self.device, self.batch, epochs=4)
        total, share, said = self._trained(model, task, compiled)
        good = share >= MFU[name] if self.cuda and not self.tiny else None
        return (f"{name}, {'compiled' if compiled else 'eager'}", f"{said}, goal {MFU[name]:.0%}", good), total

    def compiled(self) -> Iterator[Found]:
        """The same with torch.compile, once again for the first; last, since compiling takes minutes."""
        if not self.cuda:
            yield "not run", "nothing is compiled on a CPU", None
            return
        for index, (name, model) in enumerate(self.models.items()):
            found, total = self._speed(name, model, compiled=True)
            yield found
            if index == 0:
                again = self._speed(name, model, compiled=True)[1]
                yield f"{name}, twice", f"{total} and {again}", total == again

    def sampling(self) -> Iterator[Found]:
        """Whether samples are the same twice, and how fast both engines sample, the loading of the model aside."""
        model = self.models["GPT-2 9M"]
        documents, length, seconds = (8, 32, 5.0) if self.tiny else (4 * 33_280, 256, 20.0)
        part = 0 if self.tiny else PAPERS_STORIES
        with any_order(self.cuda):
            for name, same, of in language.samples(self.models, self.device, self.tiny):
                yield name, f"{same} of {of} documents are the same", same == of if "twice" in name else None
        language.tokens_per_second(model, 8, 8, "torch", seconds)  # compiles kernels
        rate = language.tokens_per_second(model, documents, length, "torch", seconds, part)
        prepare_torch(torch.get_num_threads(), 1)  # the engine has set torch up for sampling
        yield "torch", f"{rate:,.0f} tokens/s", rate >= TOKENS_PER_SECOND if self.cuda and not self.tiny else None
        try:
            find_vllm()
        except UserError as error:
            yield "vLLM", f"not measured: {str(error).split(' (')[0]}", None
            return
        if not self.tiny:
            rate = language.tokens_per_second(model, 16_384, length, "vllm", seconds)
            yield "vLLM", f"{rate:,.0f} tokens/s", None

    def _fitted(
        self, build: Callable[[], torch.nn.Module], task: Task[Batch], precision: str, unit: str, each: int = 1
    ) -> Iterator[Found]:
        """How fast a model trains, in units of which a step has `each`, and whether it has the same bytes twice."""
        settings, sums = OptimizerConfig(1e-3, 0.1, 0.9, 0.95, 1.0, 1, precision), []
        for number in range(2):
            bar = language.Steps()
            with tempfile.TemporaryDirectory() as folder:
                resume = ResumeCheckpoint(Path(folder), "check-gpu", 1e9)
                sums.append(language.checksum(fit(build(), task, settings, resume, self.device, bar).weights))
            if number == 0:
                yield "training", f"{1e3 * each / language.milliseconds(bar)[0]:,.1f} {unit}/s", None
        yield "twice", " and ".join(sums), len(set(sums)) == 1

    def images(self) -> Iterator[Found]:
        """How fast the paper's autoencoder trains and samples."""
        shape = Shape(8, "rgb", (4, 8), 4) if self.tiny else Shape(64, "rgb", (32, 64, 128, 256, 512), 128)
        steps, batch, count = (4, 4, 16) if self.tiny else (200, 64, 8192)
        pixels = np.random.default_rng(0).integers(0, 256, (8 * batch, 3, shape.size, shape.size), dtype=np.uint8)
        training = ImageTraining(epochs=None, steps=steps, batch_size=batch)
        task = ImageTask(pixels, pixels[:batch], training, shape.latent, "check-gpu", self.device)
        yield from self._fitted(lambda: build_image(shape, 0), task, "auto", "images", batch)
        model = build_image(shape, 0).to(self.device, compute_dtype("auto", self.device)).eval()
        blocks = sample_images(model, count, 1.0, "check-gpu", self.device)
        yield "sampling", f"{count / self.seconds(lambda: list(blocks), 1):,.0f} images/s", None

    def molecules(self) -> Iterator[Found]:
        """How fast the paper's GeoDiff trains on chains of 44 carbon atoms, the mean of GEOM-Drugs."""
        steps, batch, atoms = (4, 2, 8) if self.tiny else (100, 32, 44)
        model = MoleculeModel(hidden_size=8, global_layers=1, local_layers=1) if self.tiny else MoleculeModel()
        data = chains(2 * batch, atoms)
        task = ConformationTask(data, data, sigmas(model), steps, batch, 0, self.device)
        yield from self._fitted(lambda: build_molecule(model, 0), task, "float32", "steps")

    def studies(self) -> Iterator[Found]:
        """A small study has the same bytes twice."""
        if self.tiny:
            yield "not run", "tests/workflow does this", None
            return
        checkout = Path(__file__).parents[4]
        sums: list[dict[str, str]] = []
        with tempfile.TemporaryDirectory() as name:
            for number in range(2):
                folder = Path(name, str(number))
                folder.mkdir()
                (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
                command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(checkout / "Snakefile")]
                command += ["--cores", "4", "--configfile", "study.yaml", "--quiet"]
                done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")
                if done.returncode != 0:
                    last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
                    yield "a small study", f"it failed: {last}", False
                    return
                files = sorted((folder / "results/models").rglob("*.safetensors"))
                files += sorted((folder / "results/models").rglob("*.parquet"))
                sums.append({str(path.relative_to(folder)): measured(path).checksum for path in files})
                shutil.rmtree(folder / "results")
        differ = [path for path in sums[0] if sums[0][path] != sums[1].get(path)]
        said = f"{len(sums[0])} files of models and samples, {len(differ)} differ {differ[:2] or ''}".strip()
        yield "a small study twice", said, bool(sums[0]) and not differ


def chains(count: int, atoms: int) -> Conformations:
    """Conformations of a chain of single-bonded carbon atoms, coiled at random."""
    generator = np.random.default_rng(0)
    steps = generator.normal(size=(count, atoms, 3))
    steps *= 1.5 / np.linalg.norm(steps, axis=2, keepdims=True)
    coordinates: Floats = np.cumsum(steps, axis=1).reshape(-1, 3).astype(np.float32)
    bonds = np.stack([np.arange(atoms - 1), np.arange(1, atoms), np.ones(atoms - 1, dtype=np.int64)], axis=1)
    bounds = np.arange(0, (count + 1) * atoms, atoms)
    numbers = np.full(count * atoms, 6)
    names = ["chain"] * count
    return Conformations(names, names, numbers, coordinates, bounds, [bonds], np.zeros(count, dtype=np.int64))


def check_gpu(tiny: bool, only: list[str]) -> bool:
    """Run the checks, print each line, and a table at the end; returns whether nothing is bad.

    Raises:
        UserError: there is no GPU, and it is not to be `tiny`; or there is no such check.
    """
    check = GPUCheck(tiny)
    if not (check.cuda or tiny):
        raise UserError("torch sees no GPU here. `selfloop check-gpu --tiny` tries the checks on the CPU.")
    checks = check.checks
    if unknown := set(only) - checks.keys():
        raise UserError(f"--only {min(unknown)}: there is no such check. Allowed: {', '.join(checks)}.")
    chosen = {name: checks[name] for name in checks if not only or name in only or name == "machine"}
    found = found_by(chosen, time.monotonic() + SECONDS, lambda finding: print(finding, flush=True))
    bad = sum(finding.good is False for finding in found)
    print(f"\n{markdown(found)}\n\n{bad or 'no'} line{'s are' if bad != 1 else ' is'} bad.")
    return not bad
