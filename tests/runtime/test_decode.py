from __future__ import annotations

import math

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.runtime.decode import answers


def test_one_label():
    found = answers("classification", ["a", "b"], np.array([[0.0, math.log(3)], [1000.0, 0.0]]), ["x", "y"])
    assert found == [{"label": "b", "score": 0.75}, {"label": "a", "score": 1.0}]


def test_several_labels():
    # log(p / (1 - p)); one half counts as given
    logits = np.array([[math.log(4), 0.0, -5.0], [-1.0, -1.0, -1.0]])
    assert answers("multilabel", ["a", "b", "c"], logits, ["x", "y"]) == [
        {"labels": ["a", "b"], "scores": [0.8, 0.5]},
        {"labels": [], "scores": []},
    ]


def test_a_number():
    assert answers("regression", [], np.array([[2.5], [-1.0]], dtype=np.float32), ["x", "y"]) == [{"score": 2.5}, {"score": -1.0}]


def test_tags_and_words_that_were_cut_off():
    logits = [np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros((0, 2))]
    assert answers("tagging", ["O", "B-X"], logits, [["x", "y", "z"], []]) == [
        {"tokens": ["x", "y", "z"], "tags": ["O", "B-X", None]},
        {"tokens": [], "tags": []},
    ]


def test_nothing():
    assert answers("classification", ["a", "b"], np.zeros((0, 2)), []) == []


@pytest.mark.parametrize(
    "broken",
    [
        np.nan,  # no number
        np.inf,  # no probability comes of it
    ],
)
def test_broken_logits_are_no_answer(broken):
    with pytest.raises(PotstillError, match="logits of 1 of 2 texts hold NaN or infinity, first of text 2;"):
        answers("classification", ["a", "b"], np.array([[0.0, 1.0], [0.0, broken]]), ["x", "y"])
    with pytest.raises(PotstillError, match="logits of 1 of 3 texts hold NaN or infinity, first of text 3;"):
        answers("tagging", ["O", "B-X"], [np.zeros((0, 2)), np.zeros((1, 2)), np.array([[broken, 0.0]])], [[], ["x"], ["y"]])
