"""What every loss is: which field it reads, and a scalar of two tensors and the batch."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from potstill.errors import PotstillError, PotstillErrors, did_you_mean
from potstill.registry import load


class Loss(nn.Module, ABC):
    """A scalar from what the student and the teacher computed for one batch.

    It never sees a model, a layer number, a weight, a projection or a schedule: the objective
    does that once for all. A loss is one file in this folder, found by itself.

    Attributes:
        reads: the field of EncoderOutput that it gets, of both sides.
        same_width: whether both sides must have the same last axis (else a term needs a projection).
    """

    reads: ClassVar[str]
    same_width: ClassVar[bool] = True

    @abstractmethod
    def forward(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """A finite scalar with a gradient to `student`; both come in fp32, with autocast off."""


def loss_class(name: str, place: str = "loss") -> type[Loss]:
    """The loss of that name, or a PotstillError at `place`."""
    return load("losses", name, Loss, place)


def make_loss(name: str, options: Mapping[str, Any], place: str = "loss") -> Loss:
    """The loss of that name, made with the recipe's options.

    Raises:
        PotstillErrors: unknown options (all at once), or a value that the constructor refuses.
    """
    kind = loss_class(name, place)
    constructor = inspect.signature(kind).parameters
    unknown = [key for key in options if key not in constructor]
    if unknown:
        raise PotstillErrors(
            [
                PotstillError(
                    f"{place}.{key}", f"unknown key for loss {name!r}", did_you_mean(key, ["loss", "weight", "project", *constructor])
                )
                for key in unknown
            ]
        )
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise PotstillError(place, f"loss {name!r}: {error}", "mend the value") from error
