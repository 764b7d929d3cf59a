"""How much a student agrees with its teacher on texts that neither was shown in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Encode = Callable[[Sequence[str]], np.ndarray]


class Agreement:
    """Spearman correlation (×100) between the student's and the teacher's cosines of all pairs of held-out texts.

    It compares the order of neighbours, so widths may differ, and 100 means that every ranking is
    the teacher's own. n texts give n·(n-1)/2 pairs.

    Args:
        texts: n held-out texts.
        teacher: (n, d_t) the teacher's vectors of them.
    """

    def __init__(self, texts: Sequence[str], teacher: np.ndarray) -> None:
        self.texts, self.teacher = list(texts), _pair_cosines(teacher)

    def __call__(self, encode: Encode) -> float:
        from scipy.stats import spearmanr

        return float(spearmanr(_pair_cosines(encode(self.texts)), self.teacher).statistic) * 100


def _pair_cosines(vectors: np.ndarray) -> np.ndarray:
    """(n, d) → the n·(n-1)/2 cosines above the diagonal."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
    return (unit @ unit.T)[np.triu_indices(len(unit), k=1)]
