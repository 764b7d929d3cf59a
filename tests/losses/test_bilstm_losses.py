"""Losses of the BiLSTM papers: hand-checked numbers, and plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from potstill.errors import PotstillError, PotstillErrors
from potstill.losses.base import make_loss


def f64(values, grad=False):
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def test_tang_number():
    student, teacher = f64([[2, 0, -1], [0, 1, 0]]), f64([[3, 1, 0], [0, 2, 1]])
    assert make_loss("logit_mse", {"reduction": "sum"})(student, teacher, {}).item() == pytest.approx(2.5)
    assert make_loss("logit_mse", {})(student, teacher, {}).item() == pytest.approx(0.8333333, abs=1e-7)


def test_soft_logit_number():
    """p = (.9, .1): logit(p) = ±2.1972246."""
    teacher = f64([[math.log(9), 0]])
    loss = make_loss("soft_logit", {})
    assert loss(f64([[1, -1]]), teacher, {}).item() == pytest.approx(1.4333467, abs=1e-7)
    assert loss(f64([[2.1972245773, -2.1972245773]]), teacher, {}).item() == pytest.approx(0, abs=1e-12)
    assert make_loss("soft_logit", {"reduction": "mean"})(f64([[1, -1]]), teacher, {}).item() == pytest.approx(1.4333467, abs=1e-7)


def test_soft_logit_by_loops():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3).double(), 3 * torch.randn(4, 3).double()
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist()):
        whole = sum(math.exp(z) for z in t)
        total += sum((r - math.log(math.exp(z) / whole / (1 - math.exp(z) / whole))) ** 2 for r, z in zip(s, t)) / 2
    assert make_loss("soft_logit", {})(student, teacher, {}).item() == pytest.approx(total / 4, rel=1e-9)
    assert make_loss("soft_logit", {"reduction": "mean"})(student, teacher, {}).item() == pytest.approx(2 * total / 12, rel=1e-9)


def test_soft_logit_of_a_certain_teacher_is_finite():
    bound = math.log(1e-6 / (1 - 1e-6))
    student = f64([[0, 0]], grad=True)
    value = make_loss("soft_logit", {})(student, f64([[900, -900]]), {})
    value.backward()
    assert value.item() == pytest.approx(bound**2, rel=1e-6) and student.grad.isfinite().all()


def test_soft_logit_refuses():
    with pytest.raises(PotstillError, match="logit_mse"):
        make_loss("soft_logit", {}).build(1, 1, 1, 9)
    with pytest.raises(PotstillError, match="do not exclude each other"):
        make_loss("soft_logit", {})(f64([[1, 0]]), f64([[1, 0]]), {"labels": torch.ones(1, 2)})
    with pytest.raises((PotstillError, PotstillErrors), match="between 0 and"):
        make_loss("soft_logit", {"clip": 0.5})


@pytest.mark.parametrize(("distance", "expected"), [("keras_kl", 4.8208091), ("kl", 0.0698743)])
def test_representation_numbers(distance, expected):
    loss = make_loss("representation", {"distance": distance})
    assert loss(f64([[0.25, 0.1, -0.4]]), f64([[0.5, -0.2, 0.3]]), {}).item() == pytest.approx(expected, abs=1e-7)


def test_representation_by_loops():
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3).double(), torch.randn(4, 3).double()
    totals = dict.fromkeys(("kl", "keras_kl", "mse", "cosine"), 0.0)
    for s, t in zip(student.tolist(), teacher.tolist()):
        p, q = ([math.exp(z) / sum(map(math.exp, row)) for z in row] for row in (t, s))
        totals["kl"] += sum(a * math.log(a / b) for a, b in zip(p, q))
        p, q = ([min(max(z, 1e-7), 1.0) for z in row] for row in (t, s))
        totals["keras_kl"] += sum(a * math.log(a / b) for a, b in zip(p, q))
        totals["mse"] += sum((a - b) ** 2 for a, b in zip(s, t)) / 3
        totals["cosine"] += 1 - sum(a * b for a, b in zip(s, t)) / math.hypot(*s) / math.hypot(*t)
    for distance, total in totals.items():
        found = make_loss("representation", {"distance": distance})(student, teacher, {}).item()
        assert found == pytest.approx(total / 4, rel=1e-9), distance
