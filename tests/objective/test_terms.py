"""A stage's rows in a recipe: which weights they may have, and which rows are left out."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from potstill.errors import PotstillError, PotstillErrors
from potstill.models.output import EMBEDDING, EncoderOutput
from potstill.objective.objective import Objective
from potstill.objective.sizes import Sizes
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


OWN = """
from potstill.losses.base import Loss
class L1(Loss):
    reads = "embedding"
    def __init__(self, margin: float = 0.0) -> None:
        super().__init__()
        self.margin = margin
    def forward(self, student, teacher, batch):
        return (student - teacher).abs().mean()
class Unread(L1):
    reads = "vectors"
class Half(Loss):
    reads = "logits"
class Late(L1):
    def __init__(self) -> None:
        self.layer = __import__("torch").nn.Linear(1, 1)
class Rows(L1):
    def forward(self, student, teacher, batch):
        return (student - teacher).abs().mean(-1)
other = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Modules of a user's own beside the recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_losses.py").write_text(OWN)
    (tmp_path / "broken_losses.py").write_text("1 / 0\n")
    (tmp_path / "needy_losses.py").write_text("import nowhere_to_be_found\n")
    yield
    for name in ("own_losses", "broken_losses", "needy_losses"):
        sys.modules.pop(name, None)


def test_a_loss_of_the_users_own_is_made_with_its_options(own):
    found = stage_terms(Stage(name="task", terms=[{"loss": "own_losses:L1", "margin": 0.5, "weight": 2}]), 4, 4)[0]
    assert found.loss.margin == 0.5 and found.loss(torch.ones(2, 3), torch.zeros(2, 3), {}) == 1


@pytest.mark.parametrize(
    ("loss", "options", "said"),
    [
        ("nowhere:L1", {}, "there is no module 'nowhere'; install its package"),
        ("own_losses.deeper:L1", {}, "there is no module"),
        ("needy_losses:L1", {}, "needs the module 'nowhere_to_be_found'; install it"),
        ("broken_losses:L1", {}, "cannot be imported (ZeroDivisionError: division by zero)"),
        ("own_losses:L2", {}, "has no 'L2'; known: Half, L1, Late"),
        ("own_losses:other", {}, "other is no Loss; derive it from potstill.losses.base.Loss"),
        ("own_losses:", {}, "names no class; write package.module:Class"),
        ("own_losses:Half", {}, "Half does not define forward"),
        ("own_losses:Unread", {}, "reads 'vectors', which is no field of a model's output; set its `reads` to one of embedding, pooled"),
        ("own_losses:Late", {}, "its constructor raised AttributeError: cannot assign module before Module.__init__() call"),
        ("own_losses:L1", {"margins": 1}, "unknown key for loss 'own_losses:L1'; did you mean 'margin'?"),
        ("own_losses:L1", {"margin": "wide"}, "'wide' should be a valid number for loss 'own_losses:L1'"),
    ],
)
def test_what_is_wrong_with_a_loss_of_the_users_own_is_told_in_a_line(own, loss, options, said):
    with pytest.raises(PotstillError) as caught:
        check_losses(Stage(name="task", terms=[{"loss": loss, **options}]), "r.yaml")
    assert str(caught.value).startswith("r.yaml: stages.task.terms.0") and said in str(caught.value) and "\n" not in str(caught.value)


def test_a_loss_that_gives_no_scalar_is_told_in_a_line(own):
    terms = stage_terms(Stage(name="task", terms=[{"loss": "own_losses:Rows"}]), 4, 4)
    output = EncoderOutput(values={EMBEDDING: torch.ones(2, 3)})
    with pytest.raises(PotstillError, match=r"loss 'own_losses:Rows': forward gives a tensor of shape \(2,\), not a scalar tensor"):
        Objective(terms, Sizes(3, 3, 0))(output, output, {})
