"""Mean squared difference of the attention scores before the softmax, padding left out."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses.base import LayerLoss, one_of


class AttentionMSE(LayerLoss):
    """L = Σ_pairs mean of (A_s - A_t)², A the scaled scores before the softmax (TinyBERT, L_attn).

    A score counts where both its query and its key are real tokens; all others are taken as equal
    on both sides. Each of a pair: (b, heads, l, l), the same heads on both sides → scalar.

    Args:
        reduction: "valid" divides by the scores that count; "released" by all b·heads·l·l, as
            TinyBERT's code does: the value then falls as padding grows. That code also keeps the
            rows of padded queries, which mean nothing; here they are left out either way.
    """

    reads = "attention_scores"
    same_width = False

    def __init__(self, reduction: str = "valid", reduce_layers: str = "sum") -> None:
        super().__init__(reduce_layers)
        self.reduction = one_of("reduction", reduction, ("valid", "released"))

    def layer(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        same_heads(student, teacher, "attention_mse")
        real = batch["attention_mask"].bool()
        total, counted = squared_error(student, teacher, real, real)
        return total / (student.numel() if self.reduction == "released" else counted)


def squared_error(student: Tensor, teacher: Tensor, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of (A_s - A_t)² where query and key are real, and how many scores that is.

    student, teacher: (b, heads, q, k); queries: (b, q) and keys: (b, k), True at real tokens.
    """
    real = queries[:, None, :, None] & keys[:, None, None, :]  # (b, 1, q, k)
    # Filled, not multiplied by 0: scores at padding may be anything, also infinite.
    gap = (student - teacher).masked_fill_(~real, 0.0)
    return gap.square().sum(), real.sum() * student.shape[1]


def same_heads(student: Tensor, teacher: Tensor, place: str) -> None:
    """Raise a PotstillError where the two sides have different numbers of attention heads (axis 1)."""
    if student.shape[1] != teacher.shape[1]:
        raise PotstillError(
            place,
            f"the student has {student.shape[1]} attention heads, the teacher {teacher.shape[1]}",
            f"make a student of {teacher.shape[1]} heads, or use the loss relation, which re-splits them",
        )
