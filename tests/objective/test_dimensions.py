"""The first dimensions of the student's vectors taught to serve alone: which terms read them, and what they give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from potstill.losses.base import make_loss
from potstill.models.output import EMBEDDING, EncoderOutput
from potstill.objective.objective import Objective
from potstill.objective.schedule import Schedule
from potstill.objective.sizes import Sizes, TermSpec

OURS, THEIRS = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


def made(name: str, project: str = "none", width: int = 8, dimensions: tuple[int, ...] = (8, 4, 2)) -> Objective:
    row = TermSpec(name, make_loss(name, {}), Schedule("constant", 1.0, 1.0), (), project, {})
    return Objective([row], Sizes(width, 3), Sizes(6, 3), rows=5, dimensions=dimensions)


def value(objective: Objective, student: Tensor, teacher: Tensor) -> float:
    batch = {"attention_mask": torch.ones(5, 3, dtype=torch.long), "rows": torch.arange(5)}
    total, _ = objective(EncoderOutput(None, {EMBEDDING: student}), EncoderOutput(None, {EMBEDDING: teacher}), batch)
    return total.item()


def cosines(vectors: Tensor) -> Tensor:
    return cosine_similarity(vectors[:, None], vectors[None], dim=-1)


def test_similarities_are_taught_to_every_prefix() -> None:
    expected = [(cosines(OURS[:, :count]) - cosines(THEIRS)).pow(2).mean() for count in (8, 4, 2)]
    assert value(made("similarity_mse"), OURS, THEIRS) == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_a_linear_map_of_a_prefix_has_the_first_columns() -> None:
    objective = made("embedding_cosine", "linear")
    matrix = objective.projections[0][0].weight.detach()  # (6, 8)
    expected = [(1 - cosine_similarity(OURS[:, :count] @ matrix[:, :count].T, THEIRS)).mean() for count in (8, 4, 2)]
    assert value(objective, OURS, THEIRS) == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_vectors_compared_number_by_number_are_compared_whole() -> None:
    whole = made("embedding_cosine", width=6, dimensions=())
    assert value(made("embedding_cosine", width=6, dimensions=(2,)), OURS[:, :6], THEIRS) == value(whole, OURS[:, :6], THEIRS)
