"""Vectors in fewer dimensions: principal component analysis."""

from __future__ import annotations

import torch
from torch import Tensor


def main_axes(vectors: Tensor, width: int) -> Tensor:
    """The vectors, centred, along their `width` axes of greatest variance, the greatest first.

    What is computed is fp64; an axis points where its largest component is positive, so that the same
    vectors give the same numbers whatever the library's choice of sign.

    Args:
        vectors: (n, d).
        width: at most d.

    Returns:
        (n, width), in the type of `vectors`.
    """
    centred = (vectors - vectors.mean(0)).double()
    _, axes = torch.linalg.eigh(centred.T @ centred)  # (d, d), the least variance first
    axes = axes.flip(1)[:, :width]
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))  # (1, width)
    return (centred @ (axes * largest.sign())).to(vectors.dtype)
