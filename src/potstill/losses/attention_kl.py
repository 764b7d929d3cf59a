"""KL between the attention distributions of teacher and student, mean over heads and real queries."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import log_softmax

from potstill.losses.attention_mse import same_heads
from potstill.losses.base import LayerLoss


class AttentionKL(LayerLoss):
    """L = Σ_pairs 1/b · Σ_texts 1/(heads·|x|) · Σ_heads Σ_queries KL( A_t ‖ A_s ) (MiniLM, L_AT; it takes the last layers).

    A = softmax of the scores over the |x| real tokens of a text. Each of a pair: (b, heads, l, l)
    scores before the softmax, the same heads on both sides, any width → scalar.
    """

    reads = "attention_scores"
    same_width = False

    def layer(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        same_heads(student, teacher, "attention_kl")
        return softmax_kl(student, teacher, batch["attention_mask"])


def softmax_kl(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher ‖ student) of the softmaxes over real keys; mean over heads and real queries of a text, then over texts.

    student, teacher: (b, heads, l, l) scores; mask: (b, l) → scalar.
    """
    padded = ~mask.bool()
    keys = padded[:, None, None, :]  # (b, 1, 1, l)
    # Not -inf: at padded keys the difference below has to stay finite for its weight of 0 to remove it.
    log_s = log_softmax(student.masked_fill(keys, -1e9), dim=-1)
    log_t = log_softmax(teacher.masked_fill(keys, -1e9), dim=-1)
    divergence = (log_t.exp() * (log_t - log_s)).sum(-1)  # (b, heads, l)
    by_text = divergence.masked_fill(padded[:, None, :], 0.0).sum((1, 2))  # (b,)
    return (by_text / (student.shape[1] * mask.sum(-1))).mean()
