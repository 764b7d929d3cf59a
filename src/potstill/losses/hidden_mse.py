"""Mean squared difference of the token vectors of mapped layers, over real tokens and width."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import mse_loss

from potstill.losses.base import LayerLoss


class HiddenMSE(LayerLoss):
    """L = Σ_pairs 1/(n·d) · Σ_tokens ‖s - t‖² over the n real tokens of the batch (TinyBERT, L_hidn and L_embd).

    Layer 0 is the embedding output. TinyBERT's released code averages over padding too, where its
    value depends on how much padding a batch happens to have; here padding is left out.
    Each of a pair: (b, l, d) → scalar.
    """

    reads = "hidden_states"

    def layer(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        real = batch["attention_mask"].bool()
        return mse_loss(student[real], teacher[real])  # both (n, d)
