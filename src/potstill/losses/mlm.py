"""Masked language modelling: cross-entropy of the pieces that were masked, mean over those."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses._labels import label_cross_entropy
from potstill.losses.base import Loss


class MLM(Loss):
    """L = 1/n · Σ CE(logits_i, piece_i) over the n masked positions of the batch. Sources: BERT; DistilBERT, L_mlm.

    Without labels of the right shape the batch was not masked, which is an error here and not 0.
    """

    reads = "logits"
    needs_teacher = False
    labelled_tokens = True

    def forward(self, student: Tensor, teacher: None, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            student: (b, l, vocabulary) logits.
            teacher: None.
            batch: `labels` (b, l), the masked piece's number, -100 where nothing was masked.

        Returns:
            Scalar; 0 where the whole batch has no masked token.

        Raises:
            PotstillError: the logits are not those of tokens, or there is not one label a token.
        """
        labels = batch.get("labels")
        if labels is None or labels.shape != student.shape[:2] or student.dim() != 3:
            shape = None if labels is None else tuple(labels.shape)
            raise PotstillError(
                "mlm",
                f"needs logits (b, l, vocabulary) and a label a token, got {tuple(student.shape)} and {shape}",
                "use it with a masked-language-model head, on masked text",
            )
        return label_cross_entropy(student, labels)
