"""1 - cosine between the pooled vectors of student and teacher, mean over the batch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import cosine_similarity

from potstill.losses.base import Loss


class EmbeddingCosine(Loss):
    """L = 1/b · Σ_i (1 - cos(s_i, t_i)): the direction must agree, the length is free."""

    reads = "embedding"

    def forward(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            student: (b, d).
            teacher: (b, d).
            batch: not read.

        Returns:
            Scalar in [0, 2].
        """
        return (1.0 - cosine_similarity(student, teacher, dim=-1)).mean()
