"""KL between the distributions that softmax makes of each text's similarities within the batch."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax, normalize

from potstill.losses.base import Loss


class SimilarityKL(Loss):
    """L = 1/b · Σ_i KL( softmax_j(cos(t_i, t_j)/τ) ‖ softmax_j(cos(s_i, s_j)/τ) ) over other texts j.

    Like similarity_mse, but a small τ puts the weight on each text's nearest neighbours, where
    ranking is decided. There is no factor τ².

    Args:
        temperature: τ > 0.

    Raises:
        ValueError: the temperature is not positive.
    """

    reads = "embedding"
    same_width = False
    whole_batch = True

    def __init__(self, temperature: float = 0.05) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature {temperature} must be above 0")
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of one batch.

        Args:
            student: (b, d_s).
            teacher: (b, d_t).
            batch: `rows` (b,) is read: two places with the same row hold the same text.

        Returns:
            Scalar, at least 0.
        """
        # Where a batch holds a text twice (SimCSE's views) the copy would take all of the softmax.
        same = batch["rows"][:, None] == batch["rows"]
        ours, theirs = self._neighbours(student, same), self._neighbours(teacher, same)
        return kl_div(ours, theirs, reduction="batchmean", log_target=True)

    def _neighbours(self, vectors: Tensor, same: Tensor) -> Tensor:
        """(b, d) → (b, b) log-probabilities of the other texts."""
        unit = normalize(vectors, dim=-1)
        scores = unit @ unit.T / self.temperature  # (b, b)
        # So low that its probability is 0, and finite: 0 · (-inf) would poison the KL.
        return log_softmax(scores.masked_fill(same, float(scores.detach().min()) - 1e4), dim=-1)
