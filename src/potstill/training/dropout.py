"""Dropout on a processor, with masks that are drawn faster than torch draws them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.random import SFC64
from torch import Tensor

MASKS = "quick_masks"  # a file in a checkpoint: the run that wrote it drew its masks so, and goes on so
LEVELS = 1 << 16

_torch_dropout = torch.nn.functional.dropout


def draws_quick(checkpoints: Path) -> bool:
    """Whether a run's masks are quick ones. One that was stopped before there were any goes on without: none of its checkpoints says so.

    Args:
        checkpoints: the folder with those of its stages, of which each stage has a folder.
    """
    found = list(checkpoints.glob("*/checkpoint-*"))
    return not found or any((checkpoint / MASKS).is_file() for checkpoint in found)  # not all: what is half removed may lack it


@contextmanager
def quick_masks(wanted: bool = True) -> Iterator[None]:
    """Within the block dropout on the processor draws its masks out of 16 random bits a number, of a generator of numpy's.

    On an AMD torch draws 64 a number, one after the other on one core. But for the masks it is the same dropout (Srivastava et al. 2014,
    section 4): a number falls with the probability p, rounded to the nearest 65,536th, and the others grow by 1 / (1 - p). Each mask
    begins at a number that torch's generator gives, so that a seed, or the generator's state in a checkpoint, gives the same masks again.

    Args:
        wanted: False changes nothing.
    """
    if not wanted:
        yield
        return
    torch.nn.functional.dropout = _dropout  # torch's layers and transformers' attention find it here
    try:
        yield
    finally:
        torch.nn.functional.dropout = _torch_dropout


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As torch.nn.functional.dropout; also in place of it wherever nothing is drawn, or not on the processor."""
    fallen = round(p * LEVELS)
    if not training or inplace or input.device.type != "cpu" or not 0 < fallen < LEVELS:
        return _torch_dropout(input, p, training, inplace)
    seed = int(torch.empty((), dtype=torch.int64).random_())
    draws = SFC64(seed).random_raw(-(-input.numel() // 4)).view(np.uint16)[: input.numel()]
    kept = torch.from_numpy(draws >= fallen).view(input.shape)
    return input * kept.to(input.dtype).mul_(LEVELS / (LEVELS - fallen))
