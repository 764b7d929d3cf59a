"""From token vectors to one vector a text: one small function each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from potstill.errors import PotstillError, did_you_mean


def mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over real tokens. tokens (b, l, d), mask (b, l) → (b, d)."""
    weights = mask.unsqueeze(-1).to(tokens.dtype)  # (b, l, 1)
    # A row without a real token would divide by zero; it gets the zero vector.
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def cls(tokens: Tensor, mask: Tensor) -> Tensor:
    """The first token's vector. tokens (b, l, d) → (b, d)."""
    return tokens[:, 0]


def max(tokens: Tensor, mask: Tensor) -> Tensor:  # named as the field names it
    """Greatest value of each dimension over real tokens. tokens (b, l, d), mask (b, l) → (b, d)."""
    # Padding must lose against every real value, negative ones too: the type's lowest, not 0.
    return tokens.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(tokens.dtype).min).amax(1)


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mean": mean, "cls": cls, "max": max}


def pooling_function(name: str, place: str = "pooling") -> Callable[[Tensor, Tensor], Tensor]:
    """The pooling of that name, or a PotstillError that names the known ones."""
    if name not in POOLINGS:
        raise PotstillError(place, f"unknown pooling {name!r}", did_you_mean(name, POOLINGS))
    return POOLINGS[name]
