from __future__ import annotations

import math

import numpy as np
import pytest

from potstill.tasks.labelled.measures import MEASURES

GOLD = np.array([1, 1, 1, 0, 0, 0, 0, 1])
PREDICTED = np.array([1, 0, 1, 0, 1, 0, 0, 1])  # 3 true, 1 false positive, 1 missed, 3 true negatives


def test_two_classes_by_hand() -> None:
    assert MEASURES["accuracy"](GOLD, PREDICTED) == 75
    assert MEASURES["f1"](GOLD, PREDICTED) == pytest.approx(100 * 2 * 3 / (2 * 3 + 1 + 1))
    assert MEASURES["matthews"](GOLD, PREDICTED) == pytest.approx(100 * (3 * 3 - 1 * 1) / math.sqrt(4 * 4 * 4 * 4))


def test_one_class_for_all_is_no_correlation() -> None:
    assert MEASURES["matthews"](GOLD, np.ones(8, dtype=int)) == 0
    assert MEASURES["f1"](GOLD, np.zeros(8, dtype=int)) == 0


def test_macro_f1_over_labels_that_occur() -> None:
    gold, predicted = np.array([0, 0, 2, 2]), np.array([0, 2, 2, 2])  # label 1 occurs nowhere
    assert MEASURES["macro_f1"](gold, predicted) == pytest.approx(100 * (2 / 3 + 4 / 5) / 2)


def test_several_labels_by_hand() -> None:
    gold = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    predicted = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    # label 0: 1 right, 1 missed; label 1: 1 right, 1 false; label 2 occurs nowhere
    assert MEASURES["macro_f1"](gold, predicted) == pytest.approx(100 * 2 / 3)
    assert MEASURES["micro_f1"](gold, predicted) == pytest.approx(100 * 4 / 6)
    nothing = np.zeros((2, 3), dtype=int)
    assert (MEASURES["macro_f1"](nothing, nothing), MEASURES["micro_f1"](nothing, nothing)) == (0, 0)


def test_scores_by_hand() -> None:
    gold, predicted = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 8.0])
    assert MEASURES["spearman"](gold, predicted) == pytest.approx(100 * (1 - 6 * 2 / (4 * 15)))
    assert MEASURES["pearson"](gold, predicted) == pytest.approx(100 * 10 / math.sqrt(5 * 29))
    assert MEASURES["rmse"](gold, predicted) == pytest.approx(math.sqrt((0 + 1 + 1 + 16) / 4))
