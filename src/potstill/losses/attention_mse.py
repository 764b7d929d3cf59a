"""Mean squared difference of the attention scores before the softmax, padding left out."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from potstill.losses._attention import same_heads
from potstill.losses.base import LayerLoss, one_of


class AttentionMSE(LayerLoss):
    """L = Σ_pairs mean of (A_s - A_t)², A the scaled scores before the softmax. Source: TinyBERT, L_attn.

    A score counts where both its query and its key are real tokens; all others are taken as equal on both sides.

    Args:
        reduction: "valid" divides by the number of scores that count; "released" by all b·heads·l·l, as
            TinyBERT's code does: the value then falls as padding grows. That code also keeps the
            rows of padded queries, which mean nothing; here they are left out either way.
        reduce_layers: "sum" or "mean" over the pairs of layers.
    """

    reads = "attention_scores"
    same_width = False

    def __init__(self, reduction: str = "valid", reduce_layers: str = "sum") -> None:
        super().__init__(reduce_layers)
        self.reduction = one_of("reduction", reduction, ("valid", "released"))

    def layer(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one pair of layers.

        A PotstillError from `same_heads` comes through: the numbers of heads differ.

        Args:
            student: (b, heads, l, l) scores before the softmax.
            teacher: (b, heads, l, l) scores before the softmax.
            batch: `attention_mask` (b, l) is read.

        Returns:
            Scalar, at least 0.
        """
        same_heads(student, teacher, "attention_mse")
        real = batch["attention_mask"].bool()
        total, counted = squared_error(student, teacher, real, real)
        return total / (student.numel() if self.reduction == "released" else counted)


def squared_error(student: Tensor, teacher: Tensor, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of (A_s - A_t)² where both query and key are real.

    Args:
        student: (b, heads, q, k) scores.
        teacher: (b, heads, q, k) scores.
        queries: (b, q), True at real tokens.
        keys: (b, k), True at real tokens.

    Returns:
        The sum, and the number of scores in it.
    """
    real = queries[:, None, :, None] & keys[:, None, None, :]  # (b, 1, q, k)
    # Filled, not multiplied by 0: scores at padding may be anything, also infinite.
    gap = (student - teacher).masked_fill_(~real, 0.0)
    return gap.square().sum(), real.sum() * student.shape[1]
