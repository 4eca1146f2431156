"""A Gaussian fitted by its mean and covariance: the loop of Nature 2024's theorem, with a law for every regime."""
