"""The loss and its terms, held against torch's own and against their definitions."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from selfloop.domains.image.model.loss import measure, pixel_variance, terms
from selfloop.domains.image.model.network import Autoencoder, Shape, build, to_pixels

from .conftest import blobs

CPU = torch.device("cpu")


@pytest.fixture
def model() -> Autoencoder:
    """A model that is not trained, in evaluation mode."""
    return build(Shape(8, "rgb", (4, 8), 6), 0).eval()


@pytest.fixture
def images() -> torch.Tensor:
    """More images than are measured at once."""
    return torch.from_numpy(blobs(300, bands=3))


def test_the_divergence_is_that_of_the_posterior_from_the_prior(model: Autoencoder, images: torch.Tensor) -> None:
    _, divergence = terms(model, images, torch.zeros(300, 6))
    mean, log_variance = model.encode(to_pixels(images))
    posterior = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    prior = Independent(Normal(torch.zeros(6), torch.ones(6)), 1)
    torch.testing.assert_close(divergence, kl_divergence(posterior, prior), rtol=1e-4, atol=1e-5)


def test_the_error_is_that_of_the_reconstruction_of_the_drawn_latent(model: Autoencoder, images: torch.Tensor) -> None:
    noise = torch.randn(300, 6)
    error, _ = terms(model, images, noise)
    mean, log_variance = model.encode(to_pixels(images))
    reconstruction = model.decode(mean + noise * torch.exp(log_variance / 2))
    expected = torch.nn.functional.mse_loss(reconstruction, to_pixels(images), reduction="none").mean((1, 2, 3))
    torch.testing.assert_close(error, expected)


def test_a_measurement_is_the_same_each_time_and_the_loss_is_the_sum_of_its_parts(
    model: Autoencoder, images: torch.Tensor
) -> None:
    torch.manual_seed(1)
    one = measure(model, images, 0.01, CPU)
    torch.manual_seed(2)
    assert measure(model, images, 0.01, CPU) == one
    assert one["total_loss"] == pytest.approx(one["reconstruction_mse"] + 0.01 * one["kl_nats"])


def test_nats_are_those_of_the_gaussian_that_the_weight_stands_for(model: Autoencoder, images: torch.Tensor) -> None:
    """The negative ELBO, over the weight's scale and up to a constant, is the loss that training descends."""
    weight, values = 0.01, 3 * 8 * 8
    measured = measure(model, images, weight, CPU)
    deviation = math.sqrt(pixel_variance(weight, values))
    density = Normal(0.0, deviation).log_prob(torch.tensor(math.sqrt(measured["reconstruction_mse"])))
    assert measured["reconstruction_nats"] == pytest.approx(-values * density.item(), rel=1e-5)
    assert measured["negative_elbo_nats"] == pytest.approx(measured["reconstruction_nats"] + measured["kl_nats"])
    other = measure(build(Shape(8, "rgb", (4, 8), 6), 1).eval(), images, weight, CPU)
    nats = other["negative_elbo_nats"] - measured["negative_elbo_nats"]
    assert weight * nats == pytest.approx(other["total_loss"] - measured["total_loss"], rel=1e-4)
