"""Mean squared difference of the matrices of cosine similarities within the batch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import mse_loss, normalize

from potstill.losses.base import Loss


class SimilarityMSE(Loss):
    """L = 1/b² · Σ_ij (cos(s_i, s_j) - cos(t_i, t_j))².

    The student must have the same neighbours as the teacher. Its axes are free, so the
    widths may differ and no projection is needed. The diagonal is 1 on both sides and adds
    nothing; it stays in the mean, which makes the value (b-1)/b of the off-diagonal mean.
    """

    reads = "embedding"
    same_width = False
    whole_batch = True

    def forward(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            student: (b, d_s).
            teacher: (b, d_t).
            batch: not read.

        Returns:
            Scalar, at least 0.
        """
        student, teacher = normalize(student, dim=-1), normalize(teacher, dim=-1)
        return mse_loss(student @ student.T, teacher @ teacher.T)  # both (b, b)
