"""Variational autoencoders on images: sampled from the prior, trained on their own samples."""
