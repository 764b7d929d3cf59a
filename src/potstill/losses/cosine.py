"""1 - cosine between the token vectors of mapped layers, mean over real tokens."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import cosine_similarity

from potstill.losses.base import LayerLoss


class Cosine(LayerLoss):
    """L = Σ_pairs 1/n · Σ_tokens (1 - cos(s, t)) over the n real tokens of the batch. Source: DistilBERT, L_cos.

    DistilBERT computes it on the last layer alone. The same loss of pooled vectors is embedding_cosine.
    """

    reads = "hidden_states"

    def layer(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one pair of layers.

        Args:
            student: (b, l, d).
            teacher: (b, l, d).
            batch: `attention_mask` (b, l) is read.

        Returns:
            Scalar in [0, 2].
        """
        real = batch["attention_mask"].bool()
        return (1.0 - cosine_similarity(student[real], teacher[real], dim=-1)).mean()  # over (n,)
