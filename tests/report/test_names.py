"""Runs of one name are told apart by what their recipes set otherwise."""

from __future__ import annotations

import copy
from typing import Any

from potstill.report.names import flat, told_apart

TERMS = [{"loss": "cos_nce", "weight": 1.0, "layers": "uniform"}, {"loss": "hard_label", "weight": 3.0}]
BASE: dict[str, Any] = {
    "name": "lrc",
    "teacher": {"model": "runs/teacher"},
    "student": {"model": None, "layers": [1, 3, 6]},
    "training": {"epochs": 3.0, "learning_rate": 5e-5, "dropout": None},
    "stages": [{"name": "task", "perturb": True, "terms": TERMS}],
}


def changed(**settings: Any) -> dict[str, Any]:
    recipe = copy.deepcopy(BASE)
    for key, value in settings.items():
        part, _, name = key.partition("__")
        recipe[part][name] = value
    return recipe


def name_of(recipe: dict[str, Any]) -> str:
    first, second = told_apart(["lrc", "lrc"], [BASE, recipe])
    assert first == "lrc"
    return second


def test_names_that_differ_stay() -> None:
    assert told_apart(["a", "b"], [{}, BASE]) == ["a", "b"]


def test_what_is_set_otherwise_is_in_the_name() -> None:
    assert name_of(changed(training__epochs=5.0)) == "lrc, epochs 5"
    assert name_of(changed(training__learning_rate=1e-5)) == "lrc, learning rate 1e-5"
    assert name_of(changed(student__layers=[1, 6])) == "lrc, student layers [1, 6]", "a term has layers too"
    assert name_of(changed(teacher__model="elsewhere/mpnet")) == "lrc, model mpnet"
    assert name_of(changed(student__model="runs/dual-96/student")) == "lrc, student model dual-96", "the run, not its folder"
    assert name_of(changed(student__model="other")) == "lrc, student model other"
    assert name_of(changed(training__dropout=0.0)) == "lrc, dropout 0"


def test_a_long_list_is_cut() -> None:
    recipe = changed(training__epochs=5.0, training__learning_rate=1e-5, training__dropout=0.2, student__layers=[2])
    assert name_of(recipe).endswith(", 1 more") and name_of(recipe).count(",") == 4


def test_terms_and_stages_go_by_their_names() -> None:
    recipe = copy.deepcopy(BASE)
    recipe["stages"][0]["terms"][1]["weight"] = 0
    assert name_of(recipe) == "lrc, hard_label weight 0"
    recipe["stages"][0]["perturb"] = False
    assert name_of(recipe) == "lrc, no perturb, hard_label weight 0"
    recipe = copy.deepcopy(BASE)
    recipe["stages"][0]["terms"][0] = {"loss": "hidden_mse", "weight": 1.0, "layers": "uniform"}
    assert name_of(recipe) == "lrc, without cos_nce, with hidden_mse"


def test_what_differs_in_nothing_gets_a_number() -> None:
    assert told_apart(["lrc"] * 3, [BASE] * 3) == ["lrc", "lrc (2)", "lrc (3)"]


def test_what_is_not_set_is_left_out() -> None:
    assert flat({"a": {"b": None, "c": 0}, "d": [1, 2], "stages": [{"name": "x", "share": 1}]}) == {
        "a.c": 0, "d": [1, 2], "stages.x.name": "x", "stages.x.share": 1
    }  # fmt: skip
