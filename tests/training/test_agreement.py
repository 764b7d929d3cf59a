"""Agreement with the teacher is a rank correlation over all pairs of texts."""

from __future__ import annotations

import numpy as np
import pytest

from potstill.training.agreement import Agreement


def test_agreement_is_spearman_over_pairs():
    from scipy.stats import spearmanr

    vectors = np.random.default_rng(0).normal(size=(5, 3))
    other = np.random.default_rng(1).normal(size=(5, 2))
    cosine = lambda a, b: float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))  # noqa: E731
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    expected = spearmanr([cosine(vectors[i], vectors[j]) for i, j in pairs], [cosine(other[i], other[j]) for i, j in pairs]).statistic
    assert Agreement(list("abcde"), vectors)(lambda texts: other) == pytest.approx(100 * expected)
