"""A student whose vectors lie in its teacher's space, so that one side may encode queries and the other documents.

Source: Vujanic & Rueckstiess 2025, LEAF: teacher-aligned representations.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

from potstill.models.layout import Normalize, Truncate

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel


def align(student: EncoderModel, width: int, seed: int) -> None:
    """Put a Dense layer behind a student's pooling, from its vectors' width to the teacher's, in place.

    It gives W·x + b without an activation, W (width, d). It is part of the student, behind the dense layers that the
    student has from its source. Where the last of them gives that width already, it stays the last one.
    W is drawn orthogonal, and is the identity between equal widths; b is 0. So where `width` is at least d, lengths and
    angles of the student's vectors are at first what they were.

    Args:
        student: without a head. It scales vectors to unit length at the end where it did so before, and cuts none.
        width: of the teacher's vectors.
        seed: what the layer is drawn with; torch's generator stays as it was.
    """
    normalize, steps = student.normalize, _inner(student.dense)
    student.dense = nn.Sequential(*steps)
    if not ends_at(steps, width):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layer = nn.Linear(student.dimension, width)
            (nn.init.eye_ if layer.in_features == width else nn.init.orthogonal_)(layer.weight)
            nn.init.zeros_(layer.bias)
        student.dense.append(layer)
    if normalize:
        student.dense.append(Normalize())


def ends_at(steps: Iterable[nn.Module], width: int) -> bool:
    """Whether the last of a Layout's steps behind the pooling, but for scaling and cutting, is a linear layer that gives `width` numbers.

    A layer with an activation is none: behind a ReLU no vector has a negative number.
    """
    inner = _inner(steps)
    return bool(inner) and type(inner[-1]) is nn.Linear and inner[-1].out_features == width


def _inner(steps: Iterable[nn.Module]) -> list[nn.Module]:
    """The steps without those at the end that change no direction, or cut."""
    inner = list(steps)
    while inner and isinstance(inner[-1], (Normalize, Truncate, nn.Identity)):
        inner.pop()
    return inner
