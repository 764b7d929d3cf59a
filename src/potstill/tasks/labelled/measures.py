"""The measures of labelled tasks by name; scikit-learn and scipy are imported when one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def accuracy(gold: Array, predicted: Array) -> float:
    """Share of texts whose label is right, ×100. Both arguments are (n,) numbers of labels."""
    return float(100 * np.mean(gold == predicted))


def matthews(gold: Array, predicted: Array) -> float:
    """Matthews correlation coefficient ×100; 0 where all texts are given the same label. Both arguments are (n,)."""
    from sklearn.metrics import matthews_corrcoef

    return float(100 * matthews_corrcoef(gold, predicted))


def f1(gold: Array, predicted: Array) -> float:
    """F1 ×100 of label number 1 of two. Both arguments are (n,)."""
    return _f1(gold, predicted, average="binary")


def macro_f1(gold: Array, predicted: Array) -> float:
    """Mean ×100 of each label's F1, over the labels that occur in the data or are predicted.

    Args:
        gold: (n,) numbers of labels, or (n, C) 0 and 1.
        predicted: likewise.
    """
    occurring = np.flatnonzero(gold.any(axis=0) | predicted.any(axis=0)) if gold.ndim == 2 else np.union1d(gold, predicted)
    return _f1(gold, predicted, average="macro", labels=occurring) if len(occurring) else 0.0


def micro_f1(gold: Array, predicted: Array) -> float:
    """F1 ×100 over all labels of all texts together. Both arguments are (n, C) 0 and 1."""
    return _f1(gold, predicted, average="micro")


def spearman(gold: Array, predicted: Array) -> float:
    """Spearman's rank correlation ×100, with average ranks for ties. Both arguments are (n,) scores."""
    from scipy.stats import spearmanr

    return float(100 * spearmanr(predicted, gold).statistic)


def pearson(gold: Array, predicted: Array) -> float:
    """Pearson's linear correlation ×100. Both arguments are (n,) scores."""
    return float(100 * np.corrcoef(predicted, gold)[0, 1])


def rmse(gold: Array, predicted: Array) -> float:
    """Root mean squared error of (n,) scores, in their unit: the one measure that is not ×100, and of which less is better."""
    return float(np.sqrt(np.mean((predicted - gold) ** 2)))


def _f1(gold: Array, predicted: Array, **options: Any) -> float:
    from sklearn.metrics import f1_score

    return float(100 * f1_score(gold, predicted, zero_division=0, **options))


MEASURES: dict[str, Callable[[Array, Array], float]] = {
    measure.__name__: measure for measure in (accuracy, matthews, f1, macro_f1, micro_f1, spearman, pearson, rmse)
}
