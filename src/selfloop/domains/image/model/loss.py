"""The loss of a variational autoencoder, and what it is in nats."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from selfloop.domains.image.model.network import Autoencoder, to_pixels

BLOCK = 256  # images that are measured at once
# One stream of noise for all measurements of all models: differences between models are the models'.
NOISE_SEED = 20_240_401


def terms(model: Autoencoder, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Both terms of the loss, per image.

    Args:
        model: its reconstruction is that of z = mean + noise · standard deviation.
        images: uint8 [rows, bands, size, size].
        noise: standard normal [rows, latent].

    Returns:
        the squared error of the reconstruction, mean over the pixel values, which are in [-1, 1]; and the Kullback-
        Leibler divergence of q(z|x) from the prior, in nats. Each [rows].
    """
    pixels = to_pixels(images)
    mean, log_variance = model.encode(pixels)
    reconstruction = model.decode(mean + noise * (0.5 * log_variance).exp())
    error = (reconstruction - pixels).square().flatten(1).mean(dim=1)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)
    return error, divergence


@torch.inference_mode()
def measure(model: Autoencoder, images: Tensor, kl_weight: float, device: torch.device) -> dict[str, float]:
    """The loss of a model in evaluation mode on uint8 images [rows, bands, size, size], as means over the images.

    Returns:
        total_loss: what training descends, reconstruction_mse + kl_weight · kl_nats.
        reconstruction_mse: see `terms`.
        kl_nats: see `terms`.
        reconstruction_nats: -log p(x|z) per image, of a Gaussian around the reconstruction whose variance is the one
            that `kl_weight` stands for (see `pixel_variance`).
        negative_elbo_nats: reconstruction_nats + kl_nats, an upper bound of -log p(x) under that Gaussian.
    """
    error = divergence = torch.zeros((), dtype=torch.float64)
    for block, noise in _blocks(model, images):
        errors, divergences = terms(model, block.to(device), noise.to(device))
        error = error + errors.double().sum().cpu()
        divergence = divergence + divergences.double().sum().cpu()
    mse, kl = error.item() / len(images), divergence.item() / len(images)
    variance = pixel_variance(kl_weight, model.shape.values)
    nats = 0.5 * model.shape.values * (math.log(2 * math.pi * variance) + mse / variance)
    return {
        "total_loss": mse + kl_weight * kl,
        "reconstruction_mse": mse,
        "kl_nats": kl,
        "reconstruction_nats": nats,
        "negative_elbo_nats": nats + kl,
    }


def pixel_variance(kl_weight: float, values: int) -> float:
    """The variance v of the Gaussian p(x|z) at which the loss is the negative ELBO, up to a factor and a constant.

    -log p(x|z) = values/(2v) · MSE + constant; times 2v/values it is MSE, and the weight of KL is 2v/values.
    """
    return kl_weight * values / 2


def _blocks(model: Autoencoder, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(NOISE_SEED)
    for block in torch.split(images, BLOCK):
        yield block, torch.randn(len(block), model.shape.latent, generator=generator)
