"""The convolutional variational autoencoder (Kingma & Welling 2014) of the paper's appendix D.

Every block halves (in the decoder: doubles) the image's sides: a 3x3 convolution of stride 2, BatchNorm, LeakyReLU.
With channels 32, 64, 128, 256, 512, a latent of 128 dimensions and 64x64 RGB images it has 3,937,635 parameters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfloop.domains.image.config import Model
from selfloop.training.distributed import SINGLE_PROCESS, ProcessGroup

BANDS = {"gray": 1, "rgb": 3}
MOMENTUM, EPSILON, SLOPE = 0.1, 1e-5, 0.01  # of BatchNorm and LeakyReLU
# Clamp of the encoder's log-variance, so that an outlier cannot make the loss infinite.
LOG_VARIANCE = (-30.0, 20.0)


@dataclass(frozen=True)
class Shape:
    """A model's size.

    Attributes:
        size: height and width of the images; divisible by 2 to the number of channels.
        color: "gray" or "rgb".
        channels: of the encoder's blocks, in their order; the decoder's are the same, backwards.
        latent: dimensions of the latent.
    """

    size: int
    color: str
    channels: tuple[int, ...]
    latent: int

    @classmethod
    def of(cls, size: int, color: str, model: Model) -> "Shape":
        """The shape in a config's `model` section for images of this size and colour."""
        return cls(size, color, tuple(model.channels), model.latent)

    @property
    def bands(self) -> int:
        """Values per pixel."""
        return BANDS[self.color]

    @property
    def values(self) -> int:
        """Values per image."""
        return self.bands * self.size**2


class Norm(nn.Module):
    """BatchNorm with float32 statistics and arithmetic for activations of any dtype.

    Attributes:
        group: the ranks over whose shares of a batch statistics are taken in training.
    """

    mean: Tensor
    variance: Tensor
    group: ProcessGroup = SINGLE_PROCESS

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[rows, channels, height, width] → the same."""
        weight, bias = self.weight.float(), self.bias.float()
        if self.training and self.group.size > 1:
            return self._normalised(x, weight, bias)
        return F.batch_norm(x, self.mean, self.variance, weight, bias, self.training, MOMENTUM, EPSILON)

    def _normalised(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """As `batch_norm` of all ranks' shares together.

        Not `nn.SyncBatchNorm`, which needs a GPU.
        """
        values = x.float()
        count = values.new_tensor(float(x.numel() // x.shape[1]))
        total = torch.cat([values.sum(dim=(0, 2, 3)), count[None]])
        total = Summed.apply(total, self.group)  # type: ignore[no-untyped-call]
        count = total[-1].detach()
        centred = values - (total[:-1] / count)[:, None, None]
        squares = Summed.apply(centred.square().sum(dim=(0, 2, 3)), self.group)  # type: ignore[no-untyped-call]
        variance = squares / count
        with torch.no_grad():
            self.mean.lerp_(total[:-1] / count, MOMENTUM)
            self.variance.lerp_(squares / (count - 1), MOMENTUM)
        scale = weight * (variance + EPSILON).rsqrt()
        normalised: Tensor = centred * scale[:, None, None] + bias[:, None, None]
        return normalised.to(x.dtype)


class Context(Protocol):
    """What autograd keeps between the two passes."""

    group: ProcessGroup


class Summed(torch.autograd.Function):
    """The sum of a tensor over the ranks, whose losses add up: so do the gradients."""

    @staticmethod
    def forward(ctx: Context, tensor: Tensor, group: ProcessGroup) -> Tensor:
        """The sum, on every rank."""
        ctx.group = group
        total = tensor.clone()
        group.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, None]:
        """The sum of all ranks' gradients of it."""
        total = gradients[0].clone()
        ctx.group.all_reduce(total)
        return total, None


def down(inputs: int, outputs: int) -> nn.Module:
    """A block that halves height and width."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), Norm(outputs), nn.LeakyReLU(SLOPE, inplace=True)
    )


def up(inputs: int, outputs: int) -> nn.Module:
    """A block that doubles height and width."""
    transposed = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(transposed, Norm(outputs), nn.LeakyReLU(SLOPE, inplace=True))


class Autoencoder(nn.Module):
    """Encoder q(z|x), a Gaussian of diagonal covariance, and decoder, the mean of p(x|z). Pixels are in [-1, 1]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        channels = shape.channels
        self.side = shape.size // 2 ** len(channels)
        flat = channels[-1] * self.side**2
        self.encoder = nn.Sequential(*_pairs(down, (shape.bands, *channels)))
        self.mean = nn.Linear(flat, shape.latent)
        self.log_variance = nn.Linear(flat, shape.latent)
        self.widen = nn.Linear(shape.latent, flat)
        self.decoder = nn.Sequential(*_pairs(up, channels[::-1]), up(channels[0], channels[0]))
        self.paint = nn.Conv2d(channels[0], shape.bands, 3, padding=1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, float32 [rows, latent], of images [rows, bands, size, size] in [-1, 1]."""
        x = x.to(self.paint.weight.dtype).contiguous(memory_format=torch.channels_last)
        flat = self.encoder(x).flatten(1)
        return self.mean(flat).float(), self.log_variance(flat).float().clamp(*LOG_VARIANCE)

    def decode(self, z: Tensor) -> Tensor:
        """Images, float32 [rows, bands, size, size] in [-1, 1], of latents [rows, latent]."""
        wide = self.widen(z.to(self.paint.weight.dtype)).view(len(z), -1, self.side, self.side)
        painted: Tensor = self.paint(self.decoder(wide.contiguous(memory_format=torch.channels_last)))
        return painted.float().tanh()


def share_statistics(model: Autoencoder, group: ProcessGroup) -> None:
    """Let BatchNorm take its statistics over the shares of all ranks."""
    for module in model.modules():
        if isinstance(module, Norm):
            module.group = group


def _pairs(block: Callable[[int, int], nn.Module], channels: Sequence[int]) -> list[nn.Module]:
    return [block(inputs, outputs) for inputs, outputs in pairwise(channels)]


def build(shape: Shape, seed: int) -> Autoencoder:
    """A model with torch's default initialisation from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Autoencoder(shape)


def to_pixels(images: Tensor) -> Tensor:
    """uint8 images as float32 in [-1, 1]."""
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def to_bytes(pixels: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8; the inverse of `to_pixels`."""
    return pixels.add(1.0).mul_(127.5).round_().to(torch.uint8)
