"""Simulators: an explanation and a text in, an activation for each token out."""
