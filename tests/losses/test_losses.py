"""Every loss: the contract that all keep, and its formula against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from potstill.errors import PotstillError, PotstillErrors
from potstill.losses.base import loss_class, make_loss
from potstill.registry import names


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def pair(width_s=3, width_t=3, rows=4):
    torch.manual_seed(0)
    return torch.randn(rows, width_s, dtype=torch.float64, requires_grad=True), torch.randn(rows, width_t, dtype=torch.float64)


@pytest.mark.parametrize("name", names("losses"))
def test_contract(name):
    """A finite scalar; a gradient to the student and none to the teacher; least where both agree."""
    kind = loss_class(name)
    student, teacher = pair(3, 3 if kind.same_width else 5)
    teacher.requires_grad_(False)
    loss = kind()(student, teacher, {})
    assert loss.shape == () and torch.isfinite(loss) and loss > 0
    loss.backward()
    assert student.grad is not None and student.grad.abs().sum() > 0 and teacher.grad is None
    assert kind()(teacher, teacher, {}).item() == pytest.approx(0, abs=1e-12)


def test_embedding_cosine():
    s, t = pair()
    expected = sum(1 - cosine(a, b) for a, b in zip(s.tolist(), t.tolist())) / 4
    assert make_loss("embedding_cosine", {})(s, t, {}).item() == pytest.approx(expected)


def test_embedding_mse():
    s, t = pair()
    expected = sum((x - y) ** 2 for a, b in zip(s.tolist(), t.tolist()) for x, y in zip(a, b)) / (4 * 3)
    assert make_loss("embedding_mse", {})(s, t, {}).item() == pytest.approx(expected)


def test_similarity_mse_with_other_widths():
    s, t = pair(3, 5)
    S, T = s.tolist(), t.tolist()
    expected = sum((cosine(S[i], S[j]) - cosine(T[i], T[j])) ** 2 for i in range(4) for j in range(4)) / 16
    assert make_loss("similarity_mse", {})(s, t, {}).item() == pytest.approx(expected)


@pytest.mark.parametrize("tau", [0.05, 1.0])
def test_similarity_kl(tau):
    s, t = pair(3, 5)
    S, T = s.tolist(), t.tolist()
    expected = 0.0
    for i in range(4):
        others = [j for j in range(4) if j != i]
        p = [math.exp(cosine(T[i], T[j]) / tau) for j in others]
        q = [math.exp(cosine(S[i], S[j]) / tau) for j in others]
        expected += sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q)) / 4
    assert make_loss("similarity_kl", {"temperature": tau})(s, t, {}).item() == pytest.approx(expected)


def test_options_are_checked_against_the_constructor():
    with pytest.raises(PotstillErrors, match="did you mean 'temperature'"):
        make_loss("similarity_kl", {"temperatur": 1})
    with pytest.raises(PotstillError, match="must be above 0"):
        make_loss("similarity_kl", {"temperature": 0})
    with pytest.raises(PotstillError, match="did you mean 'embedding_mse'"):
        make_loss("embeding_mse", {})
