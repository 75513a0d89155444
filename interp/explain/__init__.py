"""Explainers: examples of a latent in, a sentence about it out."""
