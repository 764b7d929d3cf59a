"""Squared distance of the student's logits from logit(p) of the teacher's class probabilities (Mukherjee & Awadallah)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, logit, softmax

from potstill.errors import PotstillError
from potstill.losses.base import Loss, one_of


class SoftLogit(Loss):
    """L = 1/n · Σ_i ½ ‖ s_i - logit(p_i) ‖², p = softmax(t), logit(p) = log(p / (1 - p)).

    Source: Mukherjee & Awadallah 2019. logit(p) is not t: with two classes it is ± (t_0 - t_1), and with more
    it compares each class with all others. It is infinite where the teacher is certain, so p is clamped to
    clip … 1 - clip.

    Args:
        reduction: "half_sum", as above (the paper); "mean" over n·C, without the half (the released code).
        clip: the smallest probability of a class; the greatest is 1 - clip.

    Raises:
        ValueError: a clip outside 0 … 0.5.
    """

    reads = "logits"

    def __init__(self, reduction: str = "half_sum", clip: float = 1e-6) -> None:
        super().__init__()
        if not 0 < clip < 0.5:
            raise ValueError(f"clip {clip} must be between 0 and 0.5")
        self.reduction = one_of("reduction", reduction, ("half_sum", "mean"))
        self.clip = clip

    def build(self, student_width: int, teacher_width: int, layers: int, rows: int) -> None:
        """Check that there is more than one logit.

        Args:
            student_width: number of logits.
            teacher_width: not read.
            layers: not read.
            rows: not read.

        Raises:
            PotstillError: there is one logit, whose softmax is always 1.
        """
        if student_width == 1:
            raise PotstillError("soft_logit", "the head has one logit, whose softmax is 1 whatever it says", "use logit_mse for a score")

    def forward(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            student: (b, C), or (b, l, C) of which real tokens count.
            teacher: likewise.
            batch: `attention_mask` (b, l) is read of tokens' logits; `labels`, where there are any, for their shape.

        Returns:
            Scalar, at least 0.

        Raises:
            PotstillError: the labels are several classes a text.
        """
        if student.dim() == 3:
            real = batch["attention_mask"].bool()
            student, teacher = student[real], teacher[real]  # (n, C)
        elif (labels := batch.get("labels")) is not None and labels.dim() == 2:
            raise PotstillError(
                "soft_logit", "the labels are of classes that do not exclude each other", "use logit_mse: theirs are logits already"
            )
        squares = (student - logit(softmax(teacher, dim=-1), eps=self.clip)) ** 2
        return squares.mean() if self.reduction == "mean" else squares.sum(-1).mean() / 2
