"""Squared difference of the logits, with the teacher's scaled by a factor that a schedule may move."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import mse_loss

from potstill.losses.base import Loss, one_of


class LogitMSE(Loss):
    """L = 1/(n·C) · Σ_i ‖s_i - Φ·t_i‖².

    Sources: Tang et al. 2019, who train a BiLSTM with it (Φ = 1); Annealing-KD (Jafari et al. 2021), where Φ
    rises to 1: Φ(T) = 1 - (T - 1)/T_max. Apart from the rows' means it is the limit of soft_target for T → ∞.
    A regression uses it, since the softmax of a single logit is always 1.

    Args:
        reduction: "mean" over n·C; "sum" over C, mean over n.
        teacher_scale: Φ; a schedule may set the attribute at every step.
    """

    reads = "logits"

    def __init__(self, reduction: str = "mean", teacher_scale: float = 1.0) -> None:
        super().__init__()
        self.reduction = one_of("reduction", reduction, ("mean", "sum"))
        self.teacher_scale = teacher_scale

    def forward(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            student: (b, C), or (b, l, C) of which real tokens count.
            teacher: likewise.
            batch: `attention_mask` (b, l) is read of tokens' logits.

        Returns:
            Scalar, at least 0.
        """
        if student.dim() == 3:
            real = batch["attention_mask"].bool()
            student, teacher = student[real], teacher[real]  # (n, C)
        loss = mse_loss(student, teacher * self.teacher_scale)
        return loss * student.shape[-1] if self.reduction == "sum" else loss
