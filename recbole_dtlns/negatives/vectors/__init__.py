"""Negatives as vectors: mixed with the positive, or disentangled."""
