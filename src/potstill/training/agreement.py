"""How much a student agrees with its teacher on texts that neither was shown in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from potstill.errors import PotstillError
from potstill.tasks.base import ROUNDING

Encode = Callable[[Sequence[str]], np.ndarray]


class Agreement:
    """Spearman correlation (×100) between the student's and the teacher's cosines of all pairs of held-out texts.

    It compares the order of neighbours, so widths may differ, and 100 means that every ranking is
    the teacher's own. n texts give n·(n-1)/2 pairs.

    Args:
        texts: n held-out texts.
        teacher: (n, d_t) the teacher's vectors of them.

    Raises:
        PotstillError: fewer than 3 texts, whose pairs have no order; or a teacher that gives every text the same vector.
    """

    def __init__(self, texts: Sequence[str], teacher: np.ndarray) -> None:
        if len(texts) < 3:
            raise PotstillError(
                "agreement", f"{len(texts)} held-out texts make no two pairs to compare", "hold out 3 or more: data.held_out"
            )
        self.texts, self.teacher = list(texts), _pair_cosines(teacher)
        _require_order(self.teacher, "teacher", "choose another teacher")

    def __call__(self, encode: Encode) -> float:
        """Score a student, 100 at most.

        A PotstillError comes through: it gives every text the same vector.

        Args:
            encode: texts → its vectors, (n, d).
        """
        from scipy.stats import spearmanr

        student = _pair_cosines(encode(self.texts))
        _require_order(student, "student", "look at its training loss, and train again with a lower learning rate")
        return float(spearmanr(student, self.teacher).statistic) * 100


def _require_order(cosines: np.ndarray, side: str, remedy: str) -> None:
    """Check that there are different cosines to rank.

    Raises:
        PotstillError: all are the same but for rounding.
    """
    if np.ptp(cosines) <= ROUNDING:
        problem = f"all {len(cosines)} pairs of held-out texts have the same cosine to the {side} ({cosines[0]:.4f}), so no Spearman exists"
        raise PotstillError("agreement", problem, remedy)


def _pair_cosines(vectors: np.ndarray) -> np.ndarray:
    """(n, d) → the n·(n-1)/2 cosines above the diagonal."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
    return (unit @ unit.T)[np.triu_indices(len(unit), k=1)]
