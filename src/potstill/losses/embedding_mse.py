"""Mean squared difference of the pooled vectors of student and teacher, over batch and width."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import mse_loss

from potstill.losses.base import Loss


class EmbeddingMSE(Loss):
    """L = 1/(b·d) · Σ_i ‖s_i - t_i‖². Source: Reimers & Gurevych 2020, knowledge distillation of sentence embeddings.

    The mean is also over d, which makes it small for unit vectors: at d = 384 it is 1/384 of the squared
    distance. The term's weight has to make up for that.
    """

    reads = "embedding"

    def forward(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            student: (b, d).
            teacher: (b, d).
            batch: not read.

        Returns:
            Scalar, at least 0.
        """
        return mse_loss(student, teacher)
