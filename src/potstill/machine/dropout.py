"""Dropout's masks on a processor, out of fewer random bits than torch takes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

DRAWN = "bernoulli_.float"  # what every dropout of torch's draws its mask with on the CPU
HALF, LEVELS = 1 << 15, 1 << 16


@contextmanager
def quick_masks() -> Iterator[None]:
    """Within the block the CPU's masks take 16 random bits a number in place of torch's 64: dropout takes a third of the time.

    The bits are those of torch's generator, so that a seed, or a generator's state, gives the same masks again; they are not
    the masks that torch alone would draw. A probability is rounded to the nearest 65,536th.
    """
    library = Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*[Oo]verrid", UserWarning)  # torch warns whoever replaces a kernel of its own
        library.impl(DRAWN, _draw, "CPU")
    try:
        yield
    finally:
        del library  # torch's own kernel is back


def _draw(own: Tensor, p: float = 0.5, *, generator: Any = None) -> Tensor:
    """Fill a tensor with 1 where a draw of 16 bits is among the first p of all, else with 0."""
    count, drawn_at_once = own.numel(), 4
    wide = torch.empty(-(-count // drawn_at_once), dtype=torch.int64)
    wide.random_(torch.iinfo(torch.int64).min, None, generator=generator)  # all 64 bits; by default it leaves the sign out
    draws = wide.view(torch.int16)[:count]
    limit = round(p * LEVELS) - HALF
    kept = draws < limit if limit < HALF else torch.ones_like(draws, dtype=torch.bool)
    return own.copy_(kept.view(own.shape))
