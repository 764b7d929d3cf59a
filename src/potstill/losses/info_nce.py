"""InfoNCE: a text's vector must find its other view, or its pair, among those of the batch (SimCSE)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.losses.base import Loss


class InfoNCE(Loss):
    """L = 1/n · Σ_i -log( exp(cos(z_i, z'_i)/τ) / Σ_j exp(cos(z_i, c_j)/τ) ).

    Source: SimCSE (Gao et al. 2021), eq. 1, with hard negatives eq. 5.

    Also called NT-Xent, multiple negatives ranking, or in-batch softmax. It has one direction: from each
    text to the candidates c, which are all z' of the batch and, where the data has them, all hard
    negatives. With several processes the candidates are those of all processes.

    A candidate with the same words as the text or as its pair is not a negative and is left out:
    with k copies in a batch the loss could not fall below ln k. The formula as it is printed has no
    such exception; `duplicates: keep` has it so.

    Args:
        temperature: τ > 0. Cosines lie within ±1, so that 0.05 scales them to ±20.
        hard_negative_weight: added to the logit of a text's own hard negative: the logarithm of
            how often that one is counted. 0 counts it as any other.
        duplicates: "drop" leaves equal texts out of the denominator, "keep" counts them as negatives.

    Raises:
        ValueError: a temperature that is not above 0.
    """

    reads = "embedding"
    negatives = "batch"
    needs_teacher = False
    reads_pairs = True
    whole_batch = True

    def __init__(self, temperature: float = 0.05, hard_negative_weight: float = 0.0, duplicates: Literal["drop", "keep"] = "drop") -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature} must be above 0")
        self.temperature, self.hard_negative_weight, self.duplicates = temperature, hard_negative_weight, duplicates

    def forward(self, student: Tensor, teacher: None, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            student: (v·n, d): the n texts, then their other views, then, with v = 3, their hard negatives.
            teacher: None.
            batch: `views`, the number v; `rows` (v·n,) int64, equal where two texts are equal.

        Returns:
            Scalar, at least 0.

        Raises:
            PotstillError: fewer than two texts, or one view: there is nothing to tell apart.
        """
        views, rows = int(batch["views"]), batch["rows"]
        count = len(student) // views
        if views < 2 or count < 2:
            raise PotstillError("info_nce", f"a batch of {count} has nothing to tell apart", "raise batch_size, or give more texts")
        student = nn.functional.normalize(student, dim=-1)
        logits = student[:count] @ student[count:].T / self.temperature  # (n, (v-1)·n)
        targets = torch.arange(count, device=logits.device)
        if views > 2 and self.hard_negative_weight:
            logits = logits + self.hard_negative_weight * nn.functional.one_hot(targets + count, logits.shape[1])
        if self.duplicates == "keep":
            return nn.functional.cross_entropy(logits, targets)
        names = rows[count:]
        equal = (names == rows[:count, None]) | (names == rows[count : 2 * count, None])  # (n, (v-1)·n)
        equal = equal & (torch.arange(len(names), device=logits.device) != targets[:, None])
        return nn.functional.cross_entropy(logits.masked_fill(equal, -torch.inf), targets)
