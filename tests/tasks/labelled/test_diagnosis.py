"""What stands beside a score, recomputed with plain loops or with scikit-learn."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from potstill.tasks.labelled.diagnosis import (
    BINS,
    MOST_CLASSES,
    NONE,
    calibration,
    collapsed,
    diagnose_classes,
    diagnose_label_sets,
    diagnose_tags,
    most_given,
)
from potstill.tasks.labelled.entities import EntityCounts, count_entities

NAMES = ["no", "maybe", "yes"]


@pytest.fixture(scope="module")
def answered() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels of 200 texts, and logits that are often right; nothing answers 'maybe' much."""
    generator = np.random.default_rng(3)
    gold = generator.choice(3, 200, p=[0.3, 0.2, 0.5])
    return gold, generator.normal(size=(200, 3)) + 1.5 * np.eye(3)[gold] - np.array([0, 1.0, 0])


def ece_by_hand(probabilities: list[float], right: list[bool]) -> float:
    total = 0.0
    for number in range(BINS):
        own = [i for i, p in enumerate(probabilities) if number / BINS < p <= (number + 1) / BINS or (p == 0 and number == 0)]
        if own:
            mean, true = sum(probabilities[i] for i in own) / len(own), sum(right[i] for i in own) / len(own)
            total += len(own) / len(probabilities) * abs(true - mean)
    return 100 * total


def test_classes_as_scikit_learn_counts_them(answered) -> None:
    gold, logits = answered
    found, said = diagnose_classes(NAMES, gold, logits, ("accuracy", "macro_f1", "matthews")), logits.argmax(axis=1)
    assert found["confusion"] == confusion_matrix(gold, said).tolist()
    assert all(type(count) is int for row in found["confusion"] for count in row)
    assert found["answers"] == {name: int((said == number).sum()) for number, name in enumerate(NAMES)}
    precision, recall, f1, support = precision_recall_fscore_support(gold, said)
    for number, name in enumerate(NAMES):
        own = {"precision": 100 * precision[number], "recall": 100 * recall[number], "f1": 100 * f1[number], "gold": support[number]}
        assert found["classes"][name] == pytest.approx(own)
    usual = max((gold == number).sum() for number in range(3))
    assert found["majority_answer"] == "yes" and found["majority"]["matthews"] == 0
    assert found["majority"]["accuracy"] == pytest.approx(100 * usual / 200)
    assert found["majority"]["macro_f1"] == pytest.approx(100 * f1_score(gold, [2] * 200, average="macro", zero_division=0))


def test_calibration_by_hand(answered) -> None:
    gold, logits = answered
    chances = [[math.exp(value) / sum(map(math.exp, row)) for value in row] for row in logits.tolist()]
    right = [row.index(max(row)) == own for row, own in zip(chances, gold.tolist())]
    found = diagnose_classes(NAMES, gold, logits, ("accuracy",))["calibration"]
    assert found == {"ece": pytest.approx(ece_by_hand([max(row) for row in chances], right)), "bins": 15} and found["ece"] > 1


@pytest.mark.parametrize(
    ("probabilities", "right", "ece"),
    [
        ([1.0, 1.0], [True, True], 0.0),  # sure and right
        ([1.0, 1.0], [False, False], 100.0),  # sure and wrong
        ([0.75] * 4, [True, True, True, False], 0.0),  # as often right as it says
        ([0.0, 1.0], [True, True], 50.0),  # the ends of the scale have bins
        ([0.61, 0.65], [True, False], 13.0),  # one bin: half right, 0.63 sure
        ([1 / 15, 2 / 15], [True, False], 100 * (14 / 15 + 2 / 15) / 2),  # a bin's upper end is its own
    ],
)
def test_calibration_of_a_few(probabilities, right, ece) -> None:
    assert calibration(np.array(probabilities), np.array(right))["ece"] == pytest.approx(ece)


def test_sure_logits_do_not_overflow() -> None:
    gold, logits = np.array([0, 1]), np.array([[2000.0, -2000.0], [-2000.0, 2000.0]])
    assert diagnose_classes(["a", "b"], gold, logits, ("accuracy",))["calibration"]["ece"] == 0
    assert diagnose_label_sets(["a", "b"], np.eye(2, dtype=np.float32), logits, ("micro_f1",))["calibration"]["ece"] == 0


def test_no_matrix_of_many_classes() -> None:
    for count, there in ((MOST_CLASSES, True), (MOST_CLASSES + 1, False)):
        labels, gold = [f"c{number}" for number in range(count)], np.arange(count)
        found = diagnose_classes(labels, gold, np.eye(count), ("accuracy",))
        assert ("confusion" in found) is there and len(found["classes"]) == count


def test_several_labels_a_text() -> None:
    generator = np.random.default_rng(5)
    gold = (generator.random((60, 4)) < [0.7, 0.5, 0.3, 0.05]).astype(np.float32)
    logits = generator.normal(size=(60, 4)) + gold
    found, said = diagnose_label_sets(list("abcd"), gold, logits, ("micro_f1", "macro_f1")), logits >= 0
    sets = [own for size in range(5) for own in combinations(range(4), size)]
    constants = {own: np.tile([number in own for number in range(4)], (60, 1)) for own in sets}
    best = max(sets, key=lambda own: f1_score(gold, constants[own], average="micro", zero_division=0))
    assert found["majority_answer"] == ", ".join("abcd"[number] for number in best) and len(best) > 1
    for name in ("micro", "macro"):
        expected = 100 * f1_score(gold, constants[best], average=name, zero_division=0)
        assert found["majority"][f"{name}_f1"] == pytest.approx(expected)
    assert found["answers"] == {name: int(said[:, number].sum()) for number, name in enumerate("abcd")}
    precision, recall, f1, support = precision_recall_fscore_support(gold, said)
    for number, name in enumerate("abcd"):
        own = {"precision": 100 * precision[number], "recall": 100 * recall[number], "f1": 100 * f1[number], "gold": support[number]}
        assert found["classes"][name] == pytest.approx(own)
    chances = [1 / (1 + math.exp(-value)) for value in logits.ravel().tolist()]
    assert found["calibration"]["ece"] == pytest.approx(ece_by_hand(chances, (gold.ravel() == 1).tolist()))
    assert "confusion" not in found


def test_texts_without_any_label() -> None:
    found = diagnose_label_sets(["a", "b"], np.zeros((3, 2), dtype=np.float32), np.full((3, 2), -1.0), ("micro_f1", "macro_f1"))
    assert (found["majority"], found["majority_answer"], found["answers"]) == ({"micro_f1": 0, "macro_f1": 0}, NONE, {})
    assert found["most_given"] == {"answer": NONE, "share": 1.0, "gold_share": 1.0} and not collapsed(found)


MEASURES = ("f1", "precision", "recall")
GOLD = [["O", "B-loc", "I-loc", "O"], ["B-per", "O"], ["O", "O", "B-loc"]]


def test_types_of_entities_each_by_itself() -> None:
    said = [["O", "B-loc", "I-loc", "I-per"], ["B-loc", "O"], ["O", "O"]]  # the last word is cut off
    found = diagnose_tags(GOLD, said, MEASURES)
    for kind in ("loc", "per"):
        counts = EntityCounts()
        for gold, own in zip(GOLD, said):
            rest = [[tag if tag.endswith(kind) else "O" for tag in tags] for tags in (gold, own)]
            counts += count_entities(*rest)
        expected = {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1, "gold": counts.gold}
        assert found["classes"][kind] == expected and counts.gold == {"loc": 2, "per": 1}[kind]
    assert (found["majority"], found["majority_answer"]) == (dict.fromkeys(MEASURES, 0.0), "O")
    assert found["answers"] == {"O": 4, "B-loc": 2, "I-loc": 1, "I-per": 1}
    assert found["most_given"] == {"answer": "O", "share": 4 / 8, "gold_share": 5 / 9}


def test_words_that_are_all_of_some_type_have_another_constant_answer() -> None:
    gold = [["B-noun", "B-verb", "B-noun"], ["B-noun"]]
    found = diagnose_tags(gold, gold, MEASURES)
    assert found["majority_answer"] == "B-noun" and found["majority"] == {"precision": 75.0, "recall": 75.0, "f1": 75.0}
    assert diagnose_tags(gold, [[], []], MEASURES)["answers"] == {}


@pytest.mark.parametrize(
    ("gold", "said", "told"),
    [
        ([60, 40], [100, 0], True),  # one answer, and the data has two
        ([60, 40], [0, 100], True),  # the rarer one
        ([60, 40], [98, 2], True),  # nearly
        ([60, 40], [97, 3], False),  # not quite: a bad model, but it does tell texts apart
        ([99, 1], [99, 1], False),  # the data is so
        ([97, 3], [98, 2], False),  # a little surer than the data
        ([95, 5], [99, 1], True),  # a fifth of what is rare
        ([99, 1], [100, 0], True),  # what is rare is never found
        ([100, 0], [100, 0], False),  # nothing else can be right
    ],
)
def test_a_collapse(gold, said, told) -> None:
    scores = {"most_given": most_given(["a"] * gold[0] + ["b"] * gold[1], ["a"] * said[0] + ["b"] * said[1])}
    assert collapsed(scores) is told


def test_what_gives_no_answers_has_not_collapsed() -> None:
    assert not collapsed({"spearman": 80.0, "examples": 9})
    assert not collapsed({"most_given": most_given(["O"], [])})
