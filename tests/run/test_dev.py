"""A student that gives one answer to nearly everything is told while it learns, and not at every scoring."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from potstill.data.labelled import Examples
from potstill.data.splits import LabelledData
from potstill.errors import PotstillWarning
from potstill.run.dev import LabelledScore, of_stage
from potstill.tasks.base import NoScore, Predictor
from potstill.tasks.classification import Classification
from potstill.tasks.regression import Regression
from potstill.training.trainer import CheckpointScore

GOLD = np.array([0] * 60 + [1] * 40)


def task_of(kind: type[Any], labels: list[str], gold: Any) -> Any:
    examples = Examples([str(number) for number in range(len(gold))], gold)
    return kind(f"{kind.kind}/x-dev", LabelledData("x", kind.kind, labels, {}), examples, kind.measures)


def student(yes: int) -> Any:
    """One that answers "yes" to so many of 100 texts, the first ones."""
    return SimpleNamespace(
        labels=["no", "yes"], head="classification", predict=lambda texts: np.array([[0.0, 1 if int(text) < yes else -1] for text in texts])
    )


def told(score: LabelledScore, *answers: int) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for yes in answers:
            right = sum((number < yes) == (gold == 1) for number, gold in enumerate(score.task.examples.labels))  # type: ignore[attr-defined]
            assert score(student(yes)) == pytest.approx(right)
    return [str(warning.message) for warning in caught if warning.category is PotstillWarning]


def test_it_is_told_once_a_stage() -> None:
    score = LabelledScore(task_of(Classification, ["no", "yes"], GOLD))
    (line,) = told(score, 99, 100, 98)
    start = "classification/x-dev: the student answers 'yes' to 99.0 % of the dev rows, and the data's most frequent answer has 60.0 %; "
    assert line.startswith(start) and "learning_rate" in line and "\n" not in line
    assert told(score, 50, 0, 100) == [], "nor where it falls back"
    dev = CheckpointScore("x-dev", score)
    (other,) = {of_stage(dev).score}
    assert isinstance(other, LabelledScore) and len(told(other, 0, 1)) == 1 and told(score, 0) == []
    plain = CheckpointScore("agreement", lambda model: 1.0)
    assert of_stage(plain) is plain


def test_a_student_that_tells_texts_apart_is_not_told() -> None:
    assert told(LabelledScore(task_of(Classification, ["no", "yes"], GOLD)), 97, 3, 40) == []
    rare = np.array([1] * 99 + [0])  # data that has nearly one answer
    assert told(LabelledScore(task_of(Classification, ["no", "yes"], rare)), 99) == []


def test_a_regression_that_says_the_same_of_everything_scores_nothing() -> None:
    score = LabelledScore(task_of(Regression, [], np.array([1.0, 2.0])))
    constant = SimpleNamespace(labels=[], head="regression", predict=lambda texts: np.zeros((len(texts), 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", PotstillWarning)
        assert score(constant) == 0.0
    with pytest.raises(NoScore, match="no correlation"):
        score.task.evaluate(Predictor([], "regression", constant.predict))


def test_a_line_is_one_whatever_the_label() -> None:
    score = LabelledScore(task_of(Classification, ["no\nmatter", "yes"], GOLD))
    model = SimpleNamespace(labels=["no\nmatter", "yes"], head="classification", predict=lambda texts: np.array([[1.0, 0]] * len(texts)))
    with pytest.warns(PotstillWarning) as caught:
        score(model)
    assert "\n" not in str(caught[0].message)
