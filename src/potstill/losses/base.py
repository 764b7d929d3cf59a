"""What every loss is: which field it reads, and a scalar of two tensors and the batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.registry import check_options, is_own, load, load_own

Tensors = tuple[Tensor, ...]


class Loss(nn.Module, ABC):
    """A scalar computed from the outputs of student and teacher for one batch.

    A loss never sees a model, a layer number, a weight, a projection or a schedule: the objective handles
    those for all losses. Each loss is one file in this folder, and its name in a recipe is the file's.

    Attributes:
        reads: the field of EncoderOutput that it gets of both sides (models/output.py). The constructor may
            choose it by an option.
        negatives: where a contrastive loss takes its negatives from: "batch" (the batch's other texts), "train"
            (texts of the training set, `pool` for each batch) or "memory" (vectors that the loss keeps).
            None for a loss without negatives.
        pool: number of texts of the training set that are drawn as negatives for each batch; 0 for none. The
            teacher's outputs for exactly that many are in the batch as `negatives`, `negatives_mask`,
            `negative_rows` and `negative_labels` (losses/cos_nce.py), whatever other terms ask for.
        same_width: whether both sides must have the same last axis; a term needs a projection where they do not.
        needs_teacher: False for a loss of the student and the data alone; `teacher` is then None.
        reads_pairs: whether a batch must hold texts that belong together, view after view; `views` is then in the
            batch (losses/info_nce.py).
        whole_batch: whether it is not a mean over texts: it compares the texts of a batch with each other, or sums
            them. With several processes it then gets the texts of all of them (machine/distributed.py).
        labelled_tokens: whether it reads token logits only where there is a label. They may then come as one text
            of all labelled tokens, (1, n, classes), and no other logits are computed.
    """

    reads: str
    negatives: str | None = None
    pool: int = 0
    whole_batch: bool = False
    labelled_tokens: ClassVar[bool] = False
    same_width: ClassVar[bool] = True
    needs_teacher: ClassVar[bool] = True
    reads_pairs: ClassVar[bool] = False

    def build(self, student_width: int, teacher_width: int, layers: int, rows: int) -> None:
        """Make the parameters and buffers that depend on sizes, and check the options against the sizes.

        It is called once, before the optimizer is made. The parameters are trained and never saved with the
        student. A loss raises a PotstillError for an option that these sizes do not allow.

        Args:
            student_width: last axis of the student's tensors, after the term's projection.
            teacher_width: last axis of the teacher's tensors.
            layers: number of pairs of layers that the term maps.
            rows: number of texts of the training set; `batch["rows"]` are numbers below it.
        """

    @abstractmethod
    def forward(self, student: Any, teacher: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch; all tensors come in fp32, with autocast off.

        Args:
            student: a tensor; where `reads` is a field of layers, a tuple with one tensor for each pair of layers
                that the term maps.
            teacher: likewise; None where `needs_teacher` is False.
            batch: `attention_mask` (b, l); `rows` (b,), the texts' numbers in the training set; and, where the data
                has them, `labels`: (b,) int64 classes, (b,) float scores, (b, classes) float 0 or 1, or
                (b, l) int64 with -100 where there is none.

        Returns:
            A finite scalar with a gradient to `student`.
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
        """The loss of one pair of layers.

        Args:
            student: the student's layer.
            teacher: the teacher's layer.
            batch: as `Loss.forward` has it.

        Returns:
            Scalar.
        """

    def forward(self, student: Tensors, teacher: Tensors, batch: Mapping[str, Tensor]) -> Tensor:
        """The sum, or the mean, of `layer` over the pairs.

        Args:
            student: one tensor for each pair.
            teacher: one tensor for each pair.
            batch: as `Loss.forward` has it.

        Returns:
            Scalar.
        """
        parts = [self.layer(s, t, batch) for s, t in zip(student, teacher, strict=True)]
        total = sum(parts[1:], parts[0])
        return total / len(parts) if self.reduce_layers == "mean" else total


def one_of(option: str, value: str, known: Sequence[str]) -> str:
    """Check that an option has one of its known values.

    Args:
        option: its name, for the error.
        value: what was given.
        known: what is allowed.

    Returns:
        The value.

    Raises:
        ValueError: the value is not among the known ones.
    """
    if value not in known:
        raise ValueError(f"{option} {value!r} is not among {', '.join(map(repr, known))}")
    return value


def loss_class(name: str, place: str = "loss") -> type[Loss]:
    """The class of the loss with that name.

    A PotstillError from `registry.load` or `load_own` comes through: there is no loss of that name.

    Args:
        name: of a file in this folder, or `package.module:Class` of a loss of the user's own.
        place: where the recipe says so, for the error.
    """
    return load_own(name, Loss, place) if is_own(name) else load("losses", name, Loss, place)


def make_loss(name: str, options: Mapping[str, Any], place: str = "loss") -> Loss:
    """The loss of that name, made with the recipe's options.

    PotstillErrors from `check_options` come through, all at once: unknown options, missing ones, and values of
    another type. So does the PotstillError for an unknown name.

    Args:
        name: as of `loss_class`.
        options: arguments of its constructor.
        place: where the recipe says so, for errors.

    Raises:
        PotstillError: a value that the constructor refuses; of a loss of the user's own, whatever its constructor raises.
    """
    kind = loss_class(name, place)
    check_options(kind, options, place, f"loss {name!r}", beside=("loss", "weight", "layers", "project"))
    try:
        return kind(**options)
    except ValueError as error:
        raise PotstillError(place, f"loss {name!r}: {error}", "give it such a value") from error
    except Exception as error:
        if not is_own(name):
            raise
        raise PotstillError(place, f"loss {name!r}: its constructor raised {type(error).__name__}: {error}", "mend it") from error
