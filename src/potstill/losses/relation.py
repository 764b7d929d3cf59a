"""KL between self-relations of queries, keys or values, split anew into relation heads (MiniLM, MiniLMv2)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses._attention import softmax_kl
from potstill.losses.base import LayerLoss, one_of

SCORES_AT_ONCE = 2**21


class Relation(LayerLoss):
    """L = Σ_pairs 1/b · Σ_texts 1/(A_r·|x|) · Σ_heads Σ_tokens KL( R_t ‖ R_s ), R = softmax(X_a·X_aᵀ/√d_r).

    X: (|x|, d) are a layer's queries, keys or values with their heads side by side. They are split
    into A_r relation heads of d_r = d/A_r, on each side with its own d, and scaled by its own √d_r,
    so that neither widths nor attention heads have to agree. Sources: MiniLMv2 (Wang et al. 2021), which is
    three such terms of weight 1; MiniLM (Wang et al. 2020), L_VR, which is `of: values` with A_r the models' own
    number of heads.

    Args:
        heads: A_r, which divides both widths (48 for teachers of 768, 64 for 1024).
        of: "queries", "keys" or "values".
        reduce_layers: "sum" or "mean" over the pairs of layers.

    Raises:
        ValueError: heads below 1, or an unknown `of`.
    """

    same_width = False

    def __init__(self, heads: int, of: str = "queries", reduce_layers: str = "sum") -> None:
        super().__init__(reduce_layers)
        if heads < 1:
            raise ValueError(f"heads {heads} must be 1 or more")
        self.heads = heads
        self.reads = one_of("of", of, ("queries", "keys", "values"))

    def build(self, student_width: int, teacher_width: int, layers: int, rows: int) -> None:
        """Check that the relation heads divide both widths.

        Args:
            student_width: last axis of the student's tensors.
            teacher_width: last axis of the teacher's tensors.
            layers: not read.
            rows: not read.

        Raises:
            PotstillError: a width is not a multiple of the heads.
        """
        for side, width in (("student", student_width), ("teacher", teacher_width)):
            if width % self.heads:
                raise PotstillError(
                    "relation.heads",
                    f"the {side}'s width {width} does not divide into {self.heads} relation heads",
                    f"take a divisor of both widths: {_divisors(math.gcd(student_width, teacher_width))}",
                )

    def layer(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one pair of layers.

        Args:
            student: (b, l, d_s).
            teacher: (b, l, d_t).
            batch: `attention_mask` (b, l) is read.

        Returns:
            Scalar, at least 0.
        """
        student, teacher = self._split(student), self._split(teacher)
        # A few heads at a time: 48 heads of 32 texts of 128 tokens are 100 MB a tensor, out of reach of any CPU cache.
        few = max(1, SCORES_AT_ONCE // (len(student) * student.shape[2] ** 2))
        parts = [
            softmax_kl(s @ s.transpose(-1, -2), t @ t.transpose(-1, -2), batch["attention_mask"]) * s.shape[1]
            for s, t in zip(student.split(few, dim=1), teacher.split(few, dim=1))  # (b, few, l, d_r)
        ]
        return torch.stack(parts).sum() / self.heads

    def _split(self, states: Tensor) -> Tensor:
        """(b, l, d) → (b, A_r, l, d_r), scaled so that products of two come out divided by √d_r."""
        heads = states.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return heads * heads.shape[-1] ** -0.25


def _divisors(number: int) -> str:
    return ", ".join(str(k) for k in range(1, number + 1) if number % k == 0)
