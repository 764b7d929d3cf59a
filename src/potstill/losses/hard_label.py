"""The data's own labels: cross-entropy, squared error of a score, or binary cross-entropy of several labels."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from potstill.errors import PotstillError
from potstill.losses._labels import label_cross_entropy
from potstill.losses.base import Loss


class HardLabel(Loss):
    """The usual loss of fine-tuning, chosen by the type and shape of the labels.

    | labels                        | logits                | L                                        |
    |-------------------------------|-----------------------|------------------------------------------|
    | int64 (b,), a class           | (b, classes)          | cross-entropy, mean over texts           |
    | float (b,), a score           | (b, 1) or (b,)        | squared error, mean over texts           |
    | float (b, classes), 0 or 1    | (b, classes)          | binary cross-entropy, mean over b·classes |
    | int64 (b, l), a tag a token   | (b, l, tags)          | cross-entropy, mean over labelled tokens |

    Integer labels of -100 are left out; a batch that has no other gives 0.
    """

    reads = "logits"
    needs_teacher = False

    def forward(self, student: Tensor, teacher: None, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            student: logits, of a shape in the table.
            teacher: None.
            batch: `labels`, of a shape in the table.

        Returns:
            Scalar, at least 0.

        Raises:
            PotstillError: the batch has no labels.
        """
        labels = batch.get("labels")
        if labels is None:
            raise PotstillError("hard_label", "the batch has no labels", "train on labelled data, or leave this term out")
        if not labels.is_floating_point():
            return label_cross_entropy(student, labels)
        labels = labels.to(student.dtype)
        if labels.dim() == 1:
            return mse_loss(student.view(len(labels)), labels)
        return binary_cross_entropy_with_logits(student, labels)
