"""A stage's rows in a recipe: which weights they may have, and which rows are left out."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.errors import PotstillError, PotstillErrors
from potstill.objective.terms import check_losses, stage_terms
from potstill.recipe.recipe import Stage


def stage(*weights: Any, **options: Any) -> Stage:
    return Stage(name="task", terms=[{"loss": "embedding_mse", "weight": weight, **options} for weight in weights])


@pytest.mark.parametrize(
    ("weight", "value"),
    [
        (-1, "-1"),  # a number
        (-0.25, "-0.25"),
        ({"from": 1, "to": -0.5}, "-0.5"),  # a schedule that ends there
        ({"from": -2, "to": 1, "shape": "cosine"}, "-2"),  # or begins there
        ({"from": 1, "to": -1, "shape": "anneal"}, "-1"),
        ({"steps": [[0, 1.0], [0.5, -3], [0.8, 2]]}, "-3"),  # or is there on the way
    ],
)
@pytest.mark.parametrize("read", [check_losses, lambda stage, place: stage_terms(stage, 4, 4, place)])
def test_a_weight_below_0_is_refused_in_a_line(weight, value, read):
    with pytest.raises(PotstillError) as caught:
        read(stage(1.0, weight), "r.yaml")
    expected = f"r.yaml: stages.task.terms.1.weight: {value} is below 0, which would train the student to a greater loss; give 0 or more"
    assert str(caught.value) == expected


def test_every_wrong_weight_is_told_at_once():
    with pytest.raises(PotstillErrors) as caught:
        stage_terms(stage(-1, "heavy", -2), 4, 4)
    assert [error.place.rpartition("terms.")[2] for error in caught.value.errors] == ["0.weight", "1.weight", "2.weight"]


@pytest.mark.parametrize(
    ("weight", "kept"),
    [
        (0, False),  # never counts
        ({"from": 0, "to": 0}, False),
        ({"steps": [[0, 0], [0.5, 0.0]]}, False),
        (0.5, True),
        ({"from": 0, "to": 1}, True),  # counts later
        ({"from": 1, "to": 0}, True),  # counts at first
        ({"steps": [[0, 0], [0.5, 1], [0.6, 0]]}, True),  # counts on the way
    ],
)
def test_a_row_that_never_counts_is_left_out(weight, kept):
    assert len(stage_terms(stage(1.0, weight), 4, 4)) == (2 if kept else 1)


def test_a_row_that_never_counts_is_checked_all_the_same():
    with pytest.raises(PotstillError, match="terms.0.margin: unknown key for loss 'embedding_mse'"):
        stage_terms(stage(0, margin=1), 4, 4)
