"""Squared distance between the (normalised) first-token vectors of mapped layers (BERT-PKD)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import normalize

from potstill.losses.base import LayerLoss, one_of


class PatientMSE(LayerLoss):
    """‖ s/‖s‖ - t/‖t‖ ‖² of each text and pair of layers, as a mean or a sum. Source: BERT-PKD (Sun et al. 2019), L_PT.

    With normalised vectors a text's value is 2 - 2·cos, and the lengths are free.

    Args:
        normalize: False compares the vectors as they are (the better choice in some of the
            authors' own runs).
        reduction: "mean" over texts, layers and width, as the released code does; "sum" over texts
            and layers, as the paper writes it. The published weights (10 to 1000) go with "mean":
            500 there is 500/(layers·width) on the sum of one text, .13 for 5 layers of 768.
    """

    reads = "cls_states"

    def __init__(self, normalize: bool = True, reduction: str = "mean") -> None:
        super().__init__(reduce_layers=one_of("reduction", reduction, ("mean", "sum")))
        self.normalize = normalize
        self.whole_batch = reduction == "sum"  # which is no mean over texts

    def layer(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one pair of layers.

        Args:
            student: (b, d).
            teacher: (b, d).
            batch: not read.

        Returns:
            Scalar, at least 0.
        """
        if self.normalize:  # a vector of zeros stays one: the norm is taken as at least 1e-12
            student, teacher = normalize(student, dim=-1, eps=1e-12), normalize(teacher, dim=-1, eps=1e-12)
        squares = (student - teacher).square()  # (b, d)
        return squares.mean() if self.reduce_layers == "mean" else squares.sum()
