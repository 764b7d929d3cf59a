"""COS-NCE: the angle to the teacher's vector must shrink, the angles to its other texts must grow (LRC-BERT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from potstill.losses._labels import one_class
from potstill.losses._negatives import check_pool
from potstill.losses.base import Loss, Tensors, one_of

READS = {"flatten": "hidden_states", "token": "hidden_states", "cls": "cls_states", "mean": "mean_states"}


class CosNCE(Loss):
    """L = Σ_layers 1/b · Σ_i [ 2 - 1.5·cos(s_i, t_i) + 0.5·mean_k cos(s_i, n_k) ]. Source: LRC-BERT (Fu et al. 2021), eq. 1 and 2.

    This is the closed form of (1/2K) Σ_k [2 - (g(n_k, s) - g(t, s))] + g(t, s) with g = 1 - cos.
    It is linear in the cosines: there is no softmax and no temperature. Its minimum is not at s = t but in
    the direction of 1.5·t - 0.5·(mean unit negative), and is above 0 as soon as the teacher's vectors share
    a direction. The negatives n_k are the teacher's vectors of other texts; a text is never its own negative.

    The paper leaves open how the (l, d) matrices of two texts are compared. Here the mode says so:
    "flatten": zeroed at padding and flattened, one cosine a text; "token": the mean of the cosines
    over the positions where both texts have a token; "cls", "mean": one vector a text.

    Args:
        mode: see above; it chooses which field the loss reads.
        negatives: "batch", the other texts of the batch; or "train", `count` texts drawn from the training set
            for each batch and shared by its texts.
        count: K; given with "train" alone.
        other_labels: only texts of another class are negatives. A text without negatives
            loses that part: its mean is taken as 0. So does a batch of one text.

    Raises:
        ValueError: an unknown word, or a count that does not go with `negatives`.
    """

    def __init__(self, mode: str = "flatten", negatives: str = "batch", count: int | None = None, other_labels: bool = False) -> None:
        super().__init__()
        self.mode = one_of("mode", mode, tuple(READS))
        self.reads = READS[mode]
        if one_of("negatives", negatives, ("batch", "train")) == "train" and count is None:
            raise ValueError("negatives: train needs a count, how many texts of the training set are drawn: the paper has 15")
        if negatives == "batch" and count is not None:
            raise ValueError(f"count {count} goes with negatives: train, and negatives are the batch's")
        if count is not None and count < 1:
            raise ValueError(f"count {count} must be 1 or more")
        self.negatives, self.pool, self.other_labels = negatives, count or 0, other_labels
        self.whole_batch = negatives == "batch"

    def build(self, student_width: int, teacher_width: int, layers: int, rows: int) -> None:
        """Check the count against the training set.

        A PotstillError from `check_pool` comes through: the training set has too few texts.

        Args:
            student_width: not read.
            teacher_width: not read.
            layers: not read.
            rows: number of texts of the training set.
        """
        check_pool("cos_nce.count", self.pool, rows)

    def forward(self, student: Tensors, teacher: Tensors, batch: Mapping[str, Any]) -> Tensor:
        """The loss of one batch.

        A PotstillError from `one_class` comes through: with `other_labels` the texts do not have one class each.

        Args:
            student: of each layer (b, l, d); with "cls" and "mean" (b, d).
            teacher: likewise.
            batch: `attention_mask` (b, l), `rows` (b,), and `labels` (b,) with `other_labels`. With negatives
                "train" also `negatives`, of each layer (K, l', d) or (K, d); `negative_rows` (K,);
                `negatives_mask` (K, l') with "flatten" and "token"; `negative_labels` (K,) with `other_labels`.

        Returns:
            Scalar.
        """
        allowed = self._allowed(batch)  # (b, K)
        count = allowed.sum(-1).clamp(min=1)  # (b,)
        parts = []
        for layer, (s, t) in enumerate(zip(student, teacher, strict=True)):
            ours, theirs = self._text(s, batch["attention_mask"]), self._text(t, batch["attention_mask"])
            cosines = self._cosines(ours, theirs)  # (b, b)
            positive = cosines.diagonal()
            if self.pool:
                cosines = self._cosines(ours, self._text(batch["negatives"][layer], batch.get("negatives_mask")))  # (b, K)
            parts.append((2 - 1.5 * positive + 0.5 * (cosines * allowed).sum(-1) / count).mean())
        return torch.stack(parts).sum()

    def _allowed(self, batch: Mapping[str, Any]) -> Tensor:
        """(b, K) True where a text's negatives are."""
        rows, others = batch["rows"], batch["negative_rows"] if self.pool else batch["rows"]
        allowed = rows[:, None] != others
        if self.other_labels:
            labels = one_class(batch.get("labels"), "cos_nce")
            theirs = one_class(batch.get("negative_labels"), "cos_nce") if self.pool else labels
            allowed = allowed & (labels[:, None] != theirs)
        return allowed

    def _text(self, states: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """States with 0 at padding, and what _cosines divides by: their norm (b,), or for unit tokens the mask (b, l)."""
        if self.reads == "hidden_states" and mask is not None:
            states = states * mask.bool().unsqueeze(-1)  # a fifth of masked_fill's time, forwards and backwards
            if self.mode == "token":
                return normalize(states, dim=-1), mask.to(states.dtype)
        return states, states.flatten(1).norm(dim=-1)

    def _cosines(self, ours: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> Tensor:
        """(b, K) of b texts and K."""
        if self.mode == "token":  # unit tokens: the mean over the positions that both texts have
            return _products(ours[0], others[0]) / _products(ours[1], others[1]).clamp(min=1)
        return _products(ours[0], others[0]) / (ours[1][:, None] * others[1]).clamp(min=1e-12)


def _products(ours: Tensor, others: Tensor) -> Tensor:
    """(b, l, ...) and (K, l', ...) → (b, K) sums of products over the positions that both have."""
    length = min(ours.shape[1], others.shape[1])
    return ours[:, :length].flatten(1) @ others[:, :length].flatten(1).T
