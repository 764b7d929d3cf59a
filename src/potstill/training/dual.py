"""Dual training: a language model and a small one with another vocabulary, taught together (Zhao et al. 2019, arXiv 1909.11687 v1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from potstill.models.encoder import EncoderModel
from potstill.models.heads import without_decoder
from potstill.models.output import EncoderOutput
from potstill.objective.objective import Objective
from potstill.training.distillation import Distillation
from potstill.training.shared_projection import SharedProjection

MIXED = ("mixed_ids", "mixed_mask", "mixed_labels")


class DualTraining(Distillation):
    """L = w · L_p + L_student + CE_MLM(teacher): the student's own terms, the teacher's masked words, and their weights held together.

    The teacher reads each word in its own pieces or in the student's, so that both tables of it come
    to mean the same, and is taught along; it is in the checkpoints and never saved with the student.
    The paper's ε is 1 / w.

    Args:
        student: as Distillation has it, a language model.
        objective: the student's own terms, its masked words among them.
        teacher: a language model over the joint vocabulary (student/vocabulary.py).
        own_pieces: the teacher's, which come first in it: the two vocabularies have a softmax each.
        direction: what SharedProjection projects; None for dual training alone.
        weight: w.
    """

    def __init__(
        self, student: EncoderModel, objective: Objective, teacher: EncoderModel, own_pieces: int, direction: str | None, weight: float
    ) -> None:
        super().__init__(student, objective)
        self.teacher, self.own_pieces, self.weight = teacher, own_pieces, weight
        self.projection = SharedProjection(list(student.layers), list(teacher.layers), direction) if direction is not None else None

    def forward(
        self,
        batch: dict[str, Tensor],
        teacher: EncoderOutput | None,
        negatives: tuple[EncoderOutput, dict[str, Tensor]] | None = None,
        scale: float = 1.0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute L of a batch.

        Args:
            batch: as TrainingSet.batch gives it, in tensors; with MIXED, what the teacher that is trained reads.
            teacher: as Distillation.forward has it, like the following ones: the student's own terms may have a teacher too.
            negatives: likewise.
            scale: likewise.

        Returns:
            L, and its parts by name: the student's terms, "mlm-teacher", and where weights are projected
            "shared_projection" (before w) and "teacher_norm", the length of all the teacher's layers' weights.
        """
        loss, parts = super().forward({key: value for key, value in batch.items() if key not in MIXED}, teacher, negatives, scale)
        masked = batch["mixed_labels"] >= 0
        with without_decoder(self.teacher.network) as decoder:
            read = self.teacher(batch["mixed_ids"], batch["mixed_mask"], logit_mask=masked).logits
        guessed = two_softmaxes(read, batch["mixed_labels"][masked], decoder, self.own_pieces)
        loss, parts = loss + guessed, {**parts, "mlm-teacher": guessed.detach()}
        if self.projection is not None:
            held = self.projection(list(self.student.layers), list(self.teacher.layers))
            # A teacher that is free may shrink instead of being followed: that would be seen here.
            norm = torch.stack([parameter.detach().float().norm() for parameter in self.teacher.layers.parameters()]).norm()
            loss, parts = loss + self.weight * held, {**parts, "shared_projection": held.detach(), "teacher_norm": norm}
        return loss, parts


def two_softmaxes(read: Tensor, labels: Tensor, decoder: nn.Linear, own_pieces: int) -> Tensor:
    """Mean cross-entropy of masked pieces, each over the pieces of its own vocabulary alone.

    Args:
        read: (n, d) what the decoder reads at the masked pieces.
        labels: (n,) their numbers in the joint vocabulary.
        decoder: with weights (V + v, d), the first vocabulary's V rows first.
        own_pieces: V.

    Returns:
        A scalar in fp32; 0 without a masked piece.
    """
    sizes = [own_pieces, decoder.out_features - own_pieces]
    second = labels >= own_pieces
    total = torch.zeros((), device=read.device)
    for weight, bias, mine, shift in zip(decoder.weight.split(sizes), decoder.bias.split(sizes), (~second, second), (0, own_pieces)):
        logits = nn.functional.linear(read[mine], weight, bias)
        total = total + nn.functional.cross_entropy(logits.float(), labels[mine] - shift, reduction="sum")
    return total / max(1, len(labels))
