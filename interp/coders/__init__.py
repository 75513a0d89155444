"""Sparse coders: transcoders and sparse autoencoders behind one protocol."""
