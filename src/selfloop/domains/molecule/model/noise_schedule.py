"""Noise levels of the diffusion over atom positions (Xu et al. 2022, section 4; Ho et al. 2020).

Positions are not scaled down: at time t, x_t = x + sigma_t z with sigma_t² = (1-a_t)/a_t
and a_t the product of 1-beta up to t. That is DDPM's forward process divided by sqrt(a_t).
"""

import numpy as np
import numpy.typing as npt

from selfloop.domains.molecule.config import Model


def sigmas(model: Model) -> npt.NDArray[np.float64]:
    """The noise levels [timesteps], Å, rising: betas along a sigmoid from -6 to 6, from beta_start to beta_end."""
    x = np.linspace(-6, 6, model.timesteps)
    betas = model.beta_start + (model.beta_end - model.beta_start) / (1 + np.exp(-x))
    alphas = np.cumprod(1 - betas)
    return np.asarray(np.sqrt((1 - alphas) / alphas))


def antithetic_times(molecules: int, timesteps: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Times [molecules] from 0 to timesteps-1; the second half mirrors the first, which balances noise levels."""
    half = generator.integers(0, timesteps, size=molecules // 2 + 1)
    return np.concatenate([half, timesteps - half - 1])[:molecules]
