"""Mean squared difference of the token vectors of mapped layers, over real tokens and width."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import mse_loss

from potstill.losses.base import LayerLoss


class HiddenMSE(LayerLoss):
    """L = Σ_pairs 1/(n·d) · Σ_tokens ‖s - t‖² over the n real tokens of the batch. Source: TinyBERT, L_hidn and L_embd.

    Layer 0 is the embedding output. TinyBERT's released code averages over padding too, so that its
    value depends on how much padding a batch has; here padding is left out.
    """

    reads = "hidden_states"

    def layer(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one pair of layers.

        Args:
            student: (b, l, d).
            teacher: (b, l, d).
            batch: `attention_mask` (b, l) is read.

        Returns:
            Scalar, at least 0.
        """
        real = batch["attention_mask"].bool()
        return mse_loss(student[real], teacher[real])  # both (n, d)
