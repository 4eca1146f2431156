"""Sampling images from an autoencoder's prior; PNG encoding of a block overlaps with decoding of the next."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from selfloop.domains.image.data.image_store import encode_png
from selfloop.domains.image.model.network import Autoencoder, to_bytes
from selfloop.errors import UserError
from selfloop.identity import stream
from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup
from selfloop.training.slices import FinishedSlices

BLOCK = 512  # images per random stream; determines samples, so it is not configurable
AT_ONCE = {"cpu": 32, "cuda": BLOCK}  # images decoded at once: more would not fit a CPU's caches


def share(count: int, group: ProcessGroup) -> tuple[int, int]:
    """Range (first, end) of the blocks of `count` images that this rank samples."""
    blocks = -(-count // BLOCK)
    return blocks * group.rank // group.size, blocks * (group.rank + 1) // group.size


@torch.inference_mode()
def sample(
    model: Autoencoder,
    count: int,
    temperature: float,
    streams: str,
    device: torch.device,
    group: ProcessGroup = SINGLE_PROCESS,
    finished: FinishedSlices | None = None,
) -> Iterator[np.ndarray]:
    """Decode latents from N(0, temperature²) to the means of p(x|z).

    Args:
        model: in evaluation mode, in the dtype and on the device to sample with.
        count: images of the part.
        temperature: standard deviation of the latents; 1 is the prior.
        streams: of the part, see `identity.stream`.
        group: the ranks that share the part; this one samples consecutive blocks.
        finished: blocks that an earlier attempt has sampled, and where to keep those of this one.

    Yields:
        blocks of uint8 [rows, bands, size, size].

    Raises:
        UserError: the model yields NaN or infinity.
    """
    finished = finished or FinishedSlices()
    for number in range(*share(count, group)):
        begin = number * BLOCK
        if (saved := finished.load(begin)) is not None:
            yield saved["images"].numpy()
            continue
        generator = torch.Generator().manual_seed(stream(streams, f"block {number}"))
        latents = temperature * torch.randn(min(BLOCK, count - begin), model.shape.latent, generator=generator)
        pixels = torch.cat([model.decode(chunk) for chunk in torch.split(latents.to(device), AT_ONCE[device.type])])
        if not torch.isfinite(pixels).all():
            raise UserError(f"images {begin} to {begin + len(latents) - 1} are not finite; the model is broken.")
        images = to_bytes(pixels).cpu()
        finished.save(begin, {"images": images})
        yield images.numpy()


def encoded(blocks: Iterator[np.ndarray], on_images: Callable[[int], None] = lambda count: None) -> Iterator[bytes]:
    """PNG files of sampled blocks, in order, encoded in a background thread."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[list[bytes]]] = deque()
        for block in blocks:
            waiting.append(pool.submit(encode_png, block))
            on_images(len(block))
            if len(waiting) > 2:
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()
