"""Distance of what the student's output layer reads from what the teacher's reads (Mukherjee & Awadallah)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import cosine_similarity, kl_div, log_softmax, mse_loss

from potstill.losses.base import Loss, one_of

TINY = 1e-7  # Keras' epsilon


class Representation(Loss):
    """L = 1/b · Σ_i D(t_i, s_i) of the text representations in front of the output layers (Mukherjee & Awadallah 2019).

    | distance | D                                                                                |
    |----------|----------------------------------------------------------------------------------|
    | kl       | KL( softmax(t) ‖ softmax(s) )                                                    |
    | keras_kl | Σ_j t_j log(t_j / s_j), every number first kept within 1e-7 … 1                  |
    | mse      | mean over the width of (t_j - s_j)²                                              |
    | cosine   | 1 - cos(t, s)                                                                    |

    keras_kl is what the released code computes: of numbers that are no distribution, so it may be
    negative, and a negative number, on either side, is 1e-7 and on the student's has no gradient.

    student, teacher: (b, d) → scalar.
    """

    reads = "pooled"

    def __init__(self, distance: str = "kl") -> None:
        super().__init__()
        self.distance = one_of("distance", distance, ("kl", "keras_kl", "mse", "cosine"))

    def forward(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        if self.distance == "mse":
            return mse_loss(student, teacher)
        if self.distance == "cosine":
            return (1.0 - cosine_similarity(student, teacher, dim=-1)).mean()
        if self.distance == "kl":
            return kl_div(log_softmax(student, dim=-1), log_softmax(teacher, dim=-1), reduction="batchmean", log_target=True)
        student, teacher = student.clamp(TINY, 1), teacher.clamp(TINY, 1)
        return (teacher * (teacher / student).log()).sum(-1).mean()
