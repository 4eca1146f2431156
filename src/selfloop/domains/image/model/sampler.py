"""Sampling images from an autoencoder's prior; while the model paints a block, the one before is encoded."""

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

BLOCK = 512  # images that share a stream of random numbers; part of what a part is, so not a setting
AT_ONCE = {"cpu": 32, "cuda": BLOCK}  # images that are painted together: more would not stay in a processor's caches


def share(count: int, group: ProcessGroup) -> tuple[int, int]:
    """The first of the blocks of `count` images that this process samples, and the one after the last."""
    blocks = -(-count // BLOCK)
    return blocks * group.rank // group.size, blocks * (group.rank + 1) // group.size


@torch.inference_mode()
def sample(
    model: Autoencoder,
    count: int,
    temperature: float,
    identity: str,
    device: torch.device,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[np.ndarray]:
    """Images of latents drawn from the prior N(0, 1), times `temperature`: the means of p(x|z), without its noise.

    Args:
        model: in evaluation mode, in the number format and on the device to sample with.
        count: images in all.
        temperature: the latents' standard deviation; 1 is the prior.
        identity: names the part; its random numbers derive from it.
        group: the processes that share the part; this one samples its run of the blocks.

    Yields:
        blocks of uint8 [rows, bands, size, size].

    Raises:
        UserError: the model paints what is no number.
    """
    first, end = share(count, group)
    for number in range(first, end):
        begin = number * BLOCK
        generator = torch.Generator().manual_seed(stream(identity, f"block {number}"))
        latents = temperature * torch.randn(min(BLOCK, count - begin), model.shape.latent, generator=generator)
        pixels = torch.cat([model.decode(some) for some in torch.split(latents.to(device), AT_ONCE[device.type])])
        if not torch.isfinite(pixels).all():
            raise UserError(f"images {begin} to {begin + len(latents) - 1} hold NaN; the model is broken.")
        yield to_bytes(pixels).cpu().numpy()


def encoded(blocks: Iterator[np.ndarray], on_images: Callable[[int], None] = lambda count: None) -> Iterator[bytes]:
    """The PNG files of sampled blocks, in their order, encoded by a thread of its own beside the model's."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[list[bytes]]] = deque()
        for block in blocks:
            waiting.append(pool.submit(encode_png, block))
            on_images(len(block))
            if len(waiting) > 2:
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()
