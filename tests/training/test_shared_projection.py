"""Shared projections: a worked example, plain loops over layers, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from potstill.errors import PotstillError
from potstill.training.shared_projection import SharedProjection


def linear(rows: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False)
    layer.weight.data = torch.tensor(rows)
    return layer


def test_the_worked_example() -> None:
    teacher, student = linear([[1.0, 2.0], [3.0, 4.0]]), linear([[2.0]])
    down = SharedProjection([student], [teacher], "down")
    down.left["1-2"].data, down.right["1-2"].data = torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0], [-1.0]])
    assert down([student], [teacher]).item() == 12.25
    up = SharedProjection([student], [teacher], "up")
    up.left["1-2"].data, up.right["1-2"].data = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.5, 1.0]])
    assert up([student], [teacher]).item() == 0.25  # 1.0 as a sum


def layer(width: int, inner: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = nn.ModuleDict({"q": nn.Linear(width, width), "up": nn.Linear(width, inner), "down": nn.Linear(inner, width)})
    made["norm"] = nn.LayerNorm(width)
    nn.init.normal_(made["norm"].bias)
    return made


@pytest.mark.parametrize("direction", ["up", "down"])
def test_against_loops_over_layers_and_parts(direction: str) -> None:
    student, teacher = [layer(2, 8, seed) for seed in (0, 1)], [layer(3, 12, seed) for seed in (2, 3)]
    projection = SharedProjection(student, teacher, direction)
    assert {*projection.left} == {"2-3", "8-12"} == {*projection.right}  # one for each axis, whatever the layers
    total, count = 0.0, 0
    for ours, theirs in zip(student, teacher):
        for name in ("q.weight", "up.weight", "down.weight", "q.bias", "up.bias", "down.bias", "norm.weight", "norm.bias"):
            own, other = ours.get_parameter(name), theirs.get_parameter(name)
            outer = "8-12" if name.startswith("up") else "2-3"
            inner = "8-12" if name.startswith("down") else "2-3"
            source, target = (other, own) if direction == "down" else (own, other)
            moved = projection.left[outer] @ source
            if own.dim() == 2:
                moved = moved @ projection.right[inner]
            total, count = total + ((moved - target) ** 2).sum().item(), count + target.numel()
    loss = projection(student, teacher)
    assert loss.item() == pytest.approx(total / count, rel=1e-5)
    loss.backward()
    for module in (*student, *teacher, projection):
        assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in module.parameters())


def test_other_layers_are_refused() -> None:
    with pytest.raises(PotstillError, match="the student has 1 layers and the teacher 2"):
        SharedProjection([layer(2, 8, 0)], [layer(3, 12, 1), layer(3, 12, 2)], "up")
    with pytest.raises(PotstillError, match="have no weight like"):
        SharedProjection([linear([[1.0]])], [layer(3, 12, 1)], "up")
