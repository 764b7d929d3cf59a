"""KL between the attention distributions of teacher and student, mean over heads and real queries."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from potstill.losses._attention import same_heads, softmax_kl
from potstill.losses.base import LayerLoss


class AttentionKL(LayerLoss):
    """L = Σ_pairs 1/b · Σ_texts 1/(heads·|x|) · Σ_heads Σ_queries KL( A_t ‖ A_s ).

    A is the softmax of the scores over the |x| real tokens of a text. Source: MiniLM (Wang et al. 2020), L_AT,
    which is computed on the last layers alone.
    """

    reads = "attention_scores"
    same_width = False

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
        same_heads(student, teacher, "attention_kl")
        return softmax_kl(student, teacher, batch["attention_mask"])
