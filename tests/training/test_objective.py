"""The table of terms: weights, projections, names, widths."""

from __future__ import annotations

import pytest
import torch

from potstill.errors import PotstillError
from potstill.losses.base import make_loss
from potstill.models.output import EncoderOutput
from potstill.training.objective import Objective, TermSpec


def term(name, weight=1.0, project=False):
    return TermSpec(name, make_loss(name, {}), weight, project)


def test_the_sum_is_weighed_and_each_part_is_reported_unweighed():
    torch.manual_seed(0)
    student, teacher = EncoderOutput(embedding=torch.randn(4, 3)), EncoderOutput(embedding=torch.randn(4, 3))
    objective = Objective([term("embedding_cosine", 2.0), term("embedding_mse", 3.0), term("embedding_mse", 1.0)], 3, 3)
    total, parts = objective(student, teacher, {})
    assert list(parts) == ["embedding_cosine", "embedding_mse", "embedding_mse-2"]
    assert total.item() == pytest.approx(2 * parts["embedding_cosine"].item() + 4 * parts["embedding_mse"].item(), rel=1e-6)
    assert objective.reads == {"embedding"}


def test_a_projection_takes_the_width_and_is_trained():
    student, teacher = EncoderOutput(embedding=torch.randn(4, 3)), EncoderOutput(embedding=torch.randn(4, 5))
    objective = Objective([term("embedding_cosine", project=True), term("similarity_mse")], 3, 5)
    (weight,) = objective.parameters()
    assert weight.shape == (5, 3)
    objective(student, teacher, {})[0].backward()
    assert weight.grad is not None and weight.grad.abs().sum() > 0


def test_widths_that_differ_need_a_projection():
    with pytest.raises(PotstillError, match="3 dimensions, the teacher's 5; add project: linear"):
        Objective([term("embedding_mse")], 3, 5)


def test_losses_are_computed_in_fp32_under_autocast():
    student = EncoderOutput(embedding=torch.randn(4, 3).bfloat16())
    objective = Objective([term("similarity_mse")], 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = objective(student, EncoderOutput(embedding=torch.randn(4, 3)), {})
    assert total.dtype == torch.float32
