"""Masked language modelling: cross-entropy of the pieces that were masked, mean over those."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses.base import Loss
from potstill.losses.hard_label import label_cross_entropy


class MLM(Loss):
    """L = 1/n · Σ CE(logits_i, piece_i) over the n masked positions of the batch (BERT; DistilBERT's L_mlm).

    logits: (b, l, vocabulary), labels: (b, l) the hidden piece's number, -100 where nothing was
    masked → scalar, 0 where the whole batch has no masked token. Without labels of that shape
    the batch was not masked, which is an error here and not 0.
    """

    reads = "logits"
    needs_teacher = False
    labelled_tokens = True

    def forward(self, student: Tensor, teacher: None, batch: Mapping[str, Tensor]) -> Tensor:
        labels = batch.get("labels")
        if labels is None or labels.shape != student.shape[:2] or student.dim() != 3:
            shape = None if labels is None else tuple(labels.shape)
            raise PotstillError(
                "mlm",
                f"needs logits (b, l, vocabulary) and a label a token, got {tuple(student.shape)} and {shape}",
                "use it with a masked-language-model head, on masked text",
            )
        return label_cross_entropy(student, labels)
