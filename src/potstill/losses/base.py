"""What every loss is: which field it reads, and a scalar of two tensors and the batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.registry import check_options, load

Tensors = tuple[Tensor, ...]


class Loss(nn.Module, ABC):
    """A scalar from what the student and the teacher computed for one batch.

    It never sees a model, a layer number, a weight, a projection or a schedule: the objective
    does that once for all. A loss is one file in this folder, found by itself.

    Attributes:
        reads: the field of EncoderOutput that it gets, of both sides (models/output.py); a
            constructor may choose it by an option.
        same_width: whether both sides must have the same last axis (else a term needs a projection).
        needs_teacher: False for a loss of the student and the data alone: `teacher` is then None.
        reads_pairs: whether a batch must hold texts that belong together, view after view: then
            `views` is in it (losses/info_nce.py).
        whole_batch: whether it is no mean over texts, but sets those of a batch against each other or sums
            them: in a training of several processes it then gets those of all (training/processes.py).
        labelled_tokens: whether of tokens' logits it reads those with a label alone: they may then come as one
            text of all labelled tokens, (1, n, classes), and no others be computed.
    """

    reads: str
    whole_batch: bool = False
    labelled_tokens: ClassVar[bool] = False
    same_width: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = True
    reads_pairs: ClassVar[bool] = False

    def build(self, student_width: int, teacher_width: int, layers: int, rows: int) -> None:
        """Make what needs sizes, before the optimizer is made: parameters here are trained and never saved with the student.

        Args:
            student_width, teacher_width: last axis of what the loss gets, after the term's projection.
            layers: pairs of layers that the term maps.
            rows: texts of the training set; `batch["rows"]` are numbers below it.

        Raises:
            PotstillError: a setting that these sizes do not allow.
        """

    @abstractmethod
    def forward(self, student: Any, teacher: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """A finite scalar with a gradient to `student`; everything comes in fp32, with autocast off.

        Args:
            student, teacher: a tensor each; where `reads` is a field of layers, a tuple of tensors
                each, one for each pair of layers that the term maps.
            batch: attention_mask (b, l), rows (b,) the texts' numbers in the training set, and where
                the data has them labels: (b,) int64, (b,) float of a regression, (b, classes) float 0
                or 1, or (b, l) int64 with -100 where there is none.
        """


class LayerLoss(Loss):
    """A loss of one pair of layers, summed (or averaged) over the pairs that a term maps.

    Args:
        reduce_layers: "sum" or "mean" over the pairs.
    """

    def __init__(self, reduce_layers: str = "sum") -> None:
        super().__init__()
        self.reduce_layers = one_of("reduce_layers", reduce_layers, ("sum", "mean"))

    @abstractmethod
    def layer(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The scalar of one pair."""

    def forward(self, student: Tensors, teacher: Tensors, batch: Mapping[str, Tensor]) -> Tensor:
        parts = [self.layer(s, t, batch) for s, t in zip(student, teacher, strict=True)]
        total = sum(parts[1:], parts[0])
        return total / len(parts) if self.reduce_layers == "mean" else total


def one_of(option: str, value: str, known: Sequence[str]) -> str:
    """The value, or a ValueError that says which ones the option takes."""
    if value not in known:
        raise ValueError(f"{option} {value!r} is not among {', '.join(map(repr, known))}")
    return value


def loss_class(name: str, place: str = "loss") -> type[Loss]:
    """The loss of that name, or a PotstillError at `place`."""
    return load("losses", name, Loss, place)


def make_loss(name: str, options: Mapping[str, Any], place: str = "loss") -> Loss:
    """The loss of that name, made with the recipe's options.

    Raises:
        PotstillErrors: options that the constructor does not have, lacks or has of another type (all at
            once), or a value that it refuses.
    """
    kind = loss_class(name, place)
    check_options(kind, options, place, f"loss {name!r}", beside=("loss", "weight", "layers", "project"))
    try:
        return kind(**options)
    except ValueError as error:
        raise PotstillError(place, f"loss {name!r}: {error}", "give it such a value") from error
