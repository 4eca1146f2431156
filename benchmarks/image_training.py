"""Training images per second of the image domain, against a plain loop over a DataLoader that decodes files.

    python benchmarks/image_training.py [--model paper|default] [--threads 2] [--workers 0] [--clock wall|cpu]

Both train the same model in float32 on the same files, JPEGs of CelebA's size (178 x 218; made here from the packaged
faces), cut to 148 and resized to the model's size. The models are the paper's and the default study's. The plain loop
decodes, crops, resizes and flips every image each time it is seen, with as many workers as `--workers` says (0: in the
loop's own process, a DataLoader's default), and uses torch's own layers and optimizer. Ours decodes them once, before
the first epoch; that time is shown, and amortised over the paper's 100 epochs. Each runs in its own process, in
alternating rounds, so that other load affects both; on a busy machine, `--clock cpu` (without workers) measures CPU
time.
"""

import argparse
import io
import logging
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from selfloop.domains.image.config import Data, Training
from selfloop.domains.image.data import readers
from selfloop.domains.image.data.conversion import MODES, Tally, converted
from selfloop.domains.image.model.network import Shape, build
from selfloop.domains.image.steps.train import ImageTask
from selfloop.processor import processor
from selfloop.training.devices import prepare_torch
from selfloop.training.lr_schedule import OptimizerConfig
from selfloop.training.malloc import keep_freed_memory
from selfloop.training.optimizer import FlatWeights, Optimizer

WIDTH, HEIGHT, CROP, BATCH, KL_WEIGHT, EPOCHS = 178, 218, 148, 64, 0.00025, 100
MODELS = {"paper": Shape(64, "rgb", (32, 64, 128, 256, 512), 128), "default": Shape(32, "gray", (8, 16, 32), 16)}


class Files(Dataset[Tensor]):
    """One file after the other, decoded when it is asked for."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.paths, self.size, self.mode = sorted(folder.glob("*.jpg")), shape.size, MODES[shape.color]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        with Image.open(self.paths[index]) as opened:
            image = opened.convert(self.mode)
        left, top = (image.width - CROP) // 2, (image.height - CROP) // 2
        image = image.crop((left, top, left + CROP, top + CROP)).resize(
            (self.size, self.size), Image.Resampling.BILINEAR
        )
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).float() / 127.5 - 1.0
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


class Plain(nn.Module):
    """The same autoencoder from torch's own layers, in their default memory format."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        channels = shape.channels
        self.side = shape.size // 2 ** len(channels)
        flat = channels[-1] * self.side**2
        down = zip((shape.bands, *channels), channels, strict=False)
        self.encoder = nn.Sequential(
            *[nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.BatchNorm2d(o), nn.LeakyReLU()) for i, o in down]
        )
        self.mean, self.log_variance = nn.Linear(flat, shape.latent), nn.Linear(flat, shape.latent)
        self.widen = nn.Linear(shape.latent, flat)
        up = zip(channels[::-1], (*channels[-2::-1], channels[0]), strict=True)
        self.decoder = nn.Sequential(
            *[
                nn.Sequential(nn.ConvTranspose2d(i, o, 3, 2, 1, output_padding=1), nn.BatchNorm2d(o), nn.LeakyReLU())
                for i, o in up
            ]
        )
        self.paint = nn.Sequential(nn.Conv2d(channels[0], shape.bands, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, mean and log-variance."""
        flat = self.encoder(x).flatten(1)
        mean, log_variance = self.mean(flat), self.log_variance(flat)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        wide = self.widen(z).view(len(z), -1, self.side, self.side)
        return self.paint(self.decoder(wide)), mean, log_variance


def make_files(folder: Path, count: int) -> None:
    """JPEGs of CelebA's size: the packaged faces, enlarged and in colour."""
    faces = readers.packaged("orl")
    for number in range(count):
        with Image.open(io.BytesIO(faces.read(number % len(faces)))) as opened:
            face = opened.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        face.save(folder / f"{number:06d}.jpg", quality=92)


def plain_steps(folder: Path, shape: Shape, workers: int, device: torch.device) -> Iterator[int]:
    """Images of each step of the plain loop."""
    torch.manual_seed(0)
    model = Plain(shape).to(device)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == sum(parameter.numel() for parameter in build(shape, 0).parameters())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    loader = DataLoader(Files(folder, shape), BATCH, shuffle=True, num_workers=workers, drop_last=True,
                        persistent_workers=workers > 0)  # fmt: skip
    while True:
        for loaded in loader:
            images = loaded.to(device)
            reconstruction, mean, log_variance = model(images)
            divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(dim=1)
            loss = F.mse_loss(reconstruction, images) + KL_WEIGHT * divergence.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield len(images)


def our_steps(images: np.ndarray, shape: Shape, device: torch.device) -> Iterator[int]:
    """Images of each step of `selfloop.training.loop`'s loop, less its saving and measuring."""
    training = Training(epochs=1e6, batch_size=BATCH, kl_weight=KL_WEIGHT)
    schedule = OptimizerConfig(0.005, 0.0, 0.9, 0.999, 1.0, 1, "float32", schedule="exponential", decay=0.95)
    keep_freed_memory()
    task = ImageTask(images, images[:1], training, shape.latent, "benchmark", device)
    model = build(shape, 0).to(device).train()
    weights = FlatWeights(model, torch.float32)
    optimizer = Optimizer(weights, schedule)
    for step in range(task.steps):
        batch = task.batch(step)
        weights.backward(task.loss(model, batch))
        optimizer.step(0.005)
        yield task.size(batch)


def measure(name: str, folder: Path, arguments: argparse.Namespace, connection: Connection) -> None:
    """In a process of its own, for our memory's settings are not the plain loop's: train for as long as one is told."""
    shape, device = MODELS[arguments.model], torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    torch.set_num_threads(arguments.threads)
    if name == "plain":
        steps = plain_steps(folder, shape, arguments.workers, device)
    else:
        device = prepare_torch(arguments.threads)
        steps = our_steps(np.load(folder / "images.npy"), shape, device)
    for _ in range(2):
        next(steps)
    connection.send("ready")
    while (seconds := connection.recv()) is not None:
        images, began = 0, clock()
        while clock() - began < seconds:
            images += next(steps)
        if device.type == "cuda":
            torch.cuda.synchronize()
        connection.send(images / (clock() - began))


class Side:
    """One of the two loops, which trains when it is asked."""

    def __init__(self, name: str, folder: Path, arguments: argparse.Namespace) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=measure, args=(name, folder, arguments, theirs))
        self.process.start()
        assert self.connection.recv() == "ready"

    def rate(self, seconds: float) -> float:
        """Images per second over at least `seconds`."""
        self.connection.send(seconds)
        images: float = self.connection.recv()
        return images

    def end(self) -> None:
        """Let it go."""
        self.connection.send(None)
        self.process.join()


def main() -> None:
    """Measure in turns, and print the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), default="paper")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--files", type=int, default=1280)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    logging.disable()
    shape = MODELS[arguments.model]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, arguments.files)
        files = readers.of_path(folder, "train", None)
        data = Data(source="files", train=str(folder), size=shape.size, crop=CROP, color=shape.color)
        began = clock()
        pieces = [pixels for _, pixels in converted(files, data, arguments.threads, Tally())]
        decoding = clock() - began
        np.save(folder / "images.npy", np.concatenate(pieces))
        sides = [Side(name, folder, arguments) for name in ("plain", "ours")]
        rates = [tuple(side.rate(arguments.seconds) for side in sides) for _ in range(arguments.rounds)]
        for side in sides:
            side.end()
    theirs, mine = np.median(rates, axis=0)
    with_decoding = 1 / (1 / mine + decoding / arguments.files / EPOCHS)
    print(processor())
    print(f"{arguments.model} model, {shape.size}x{shape.size}, batch {BATCH}, float32")
    print(f"{arguments.threads} threads, {arguments.clock} seconds")
    print(f"plain loop, {arguments.workers} workers   {theirs:8.0f} images/s")
    print(f"ours                    {mine:8.0f} images/s   {mine / theirs:.2f} times")
    print(f"ours, decoding counted  {with_decoding:8.0f} images/s   {with_decoding / theirs:.2f} times")
    print(f"decoding once: {arguments.files / decoding:,.0f} images/s; ratio by round:", end=" ")
    print(", ".join(f"{b / a:.2f}" for a, b in rates))


if __name__ == "__main__":
    main()
