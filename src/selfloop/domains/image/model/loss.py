"""The loss of a variational autoencoder, and its value in nats."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from selfloop.domains.image.model.network import Autoencoder, to_pixels

BLOCK = 256  # images evaluated at once
# Common random numbers for all evaluations of all models.
NOISE_SEED = 20_240_401


def terms(model: Autoencoder, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Both terms of the loss per image.

    Args:
        model: reconstructs from z = mean + noise · standard deviation.
        images: uint8 [rows, bands, size, size].
        noise: standard normal [rows, latent].

    Returns:
        the mean squared error of pixel values in [-1, 1], and the KL divergence of q(z|x) from the prior in nats; each
        [rows].
    """
    pixels = to_pixels(images)
    mean, log_variance = model.encode(pixels)
    reconstruction = model.decode(mean + noise * (0.5 * log_variance).exp())
    error = (reconstruction - pixels).square().flatten(1).mean(dim=1)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1)
    return error, divergence


@torch.inference_mode()
def measure(model: Autoencoder, images: Tensor, kl_weight: float, device: torch.device) -> dict[str, float]:
    """Losses of a model in evaluation mode on uint8 images [rows, bands, size, size], means over images.

    Returns:
        total_loss: the training loss, reconstruction_mse + kl_weight · kl_nats.
        reconstruction_mse: see `terms`.
        kl_nats: see `terms`.
        reconstruction_nats: -log p(x|z) per image under a Gaussian with the variance that `kl_weight` implies (see
            `pixel_variance`).
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


@torch.inference_mode()
def image_terms(model: Autoencoder, images: Tensor, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Both terms of the loss of each of the uint8 images [rows, bands, size, size], float64 [rows] each."""
    found = [terms(model, block.to(device), noise.to(device)) for block, noise in _blocks(model, images)]
    errors, divergences = (torch.cat(each).double().cpu().numpy() for each in zip(*found, strict=True))
    return errors, divergences


def pixel_variance(kl_weight: float, values: int) -> float:
    """The variance v of the Gaussian p(x|z) at which the loss is the negative ELBO, up to a factor and a constant.

    -log p(x|z) = values/(2v) · MSE + constant; times 2v/values it is MSE, and the weight of KL is 2v/values.
    """
    return kl_weight * values / 2


def _blocks(model: Autoencoder, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(NOISE_SEED)
    for block in torch.split(images, BLOCK):
        yield block, torch.randn(len(block), model.shape.latent, generator=generator)
