"""Distance of what the student's output layer reads from what the teacher's reads (Mukherjee & Awadallah)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import cosine_similarity, kl_div, log_softmax, mse_loss

from potstill.losses.base import Loss, one_of

TINY = 1e-7  # Keras' epsilon


class Representation(Loss):
    """L = 1/b · Σ_i D(t_i, s_i) of the texts' vectors that the output layers read. Source: Mukherjee & Awadallah 2019.

    | distance | D                                                                                |
    |----------|----------------------------------------------------------------------------------|
    | kl       | KL( softmax(t) ‖ softmax(s) )                                                    |
    | keras_kl | Σ_j t_j log(t_j / s_j), every number first kept within 1e-7 … 1                  |
    | mse      | mean over the width of (t_j - s_j)²                                              |
    | cosine   | 1 - cos(t, s)                                                                    |

    keras_kl is what the released code computes: the inputs are not normalised, so the value may be negative;
    negatives are clamped to 1e-7 and get no gradient on the student side.

    Args:
        distance: a name in the table.
    """

    reads = "pooled"

    def __init__(self, distance: str = "kl") -> None:
        super().__init__()
        self.distance = one_of("distance", distance, ("kl", "keras_kl", "mse", "cosine"))

    def forward(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            student: (b, d).
            teacher: (b, d).
            batch: not read.

        Returns:
            Scalar; at least 0 but with keras_kl.
        """
        if self.distance == "mse":
            return mse_loss(student, teacher)
        if self.distance == "cosine":
            return (1.0 - cosine_similarity(student, teacher, dim=-1)).mean()
        if self.distance == "kl":
            return kl_div(log_softmax(student, dim=-1), log_softmax(teacher, dim=-1), reduction="batchmean", log_target=True)
        student, teacher = student.clamp(TINY, 1), teacher.clamp(TINY, 1)
        return (teacher * (teacher / student).log()).sum(-1).mean()
