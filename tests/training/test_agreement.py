"""Agreement with the teacher is a rank correlation over all pairs of texts."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.training.agreement import Agreement


def test_agreement_is_spearman_over_pairs():
    from scipy.stats import spearmanr

    vectors = np.random.default_rng(0).normal(size=(5, 3))
    other = np.random.default_rng(1).normal(size=(5, 2))
    cosine = lambda a, b: float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))  # noqa: E731
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    expected = spearmanr([cosine(vectors[i], vectors[j]) for i, j in pairs], [cosine(other[i], other[j]) for i, j in pairs]).statistic
    assert Agreement(list("abcde"), vectors)(lambda texts: other) == pytest.approx(100 * expected)


def test_vectors_that_are_all_the_same_have_no_agreement():
    vectors, same = np.random.default_rng(0).normal(size=(5, 3)), np.ones((5, 2))
    with pytest.raises(PotstillError, match="2 held-out texts make no two pairs"):
        Agreement(list("ab"), vectors[:2])
    with pytest.raises(PotstillError, match="all 10 pairs of held-out texts have the same cosine to the teacher"):
        Agreement(list("abcde"), same)
    with pytest.raises(PotstillError, match="all 10 pairs of held-out texts have the same cosine to the student"):
        Agreement(list("abcde"), vectors)(lambda texts: same)
