"""Losses of mapped layers: hand-checked numbers, and plain loops over texts, heads and tokens."""

from __future__ import annotations

import importlib
import math

import pytest
import torch

from potstill.errors import PotstillError
from potstill.losses.attention_mse import squared_error
from potstill.losses.base import make_loss

LENGTHS = [4, 2, 3]


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def batch_of(lengths=LENGTHS):
    return {"attention_mask": (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()}


def full(tokens):
    return {"attention_mask": torch.ones(1, tokens, dtype=torch.int64)}


def softmax(row):
    total = sum(math.exp(z) for z in row)
    return [math.exp(z) / total for z in row]


def kl_of_scores(teacher, student):
    return sum(a * math.log(a / b) for a, b in zip(softmax(teacher), softmax(student)))


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def test_hidden_mse_number():
    """TinyBERT's example: H_s = [[1], [2]] under W = [[1, 1]]; the third token is padding."""
    student, teacher = f64([[[1, 1], [2, 2], [7, 7]]]), f64([[[1, 0], [2, 3], [0, 0]]])
    assert make_loss("hidden_mse", {})((student,), (teacher,), {"attention_mask": torch.tensor([[1, 1, 0]])}).item() == pytest.approx(0.5)


@pytest.mark.parametrize("reduce_layers", ["sum", "mean"])
def test_hidden_mse_by_loops(reduce_layers):
    s, t = (random(2, 3, 4, 5, seed=seed) for seed in (1, 2))  # two pairs of layers
    expected = 0.0
    for layer in range(2):
        for i, length in enumerate(LENGTHS):
            for k in range(length):
                expected += sum((s[layer, i, k, c] - t[layer, i, k, c]).item() ** 2 for c in range(5)) / (sum(LENGTHS) * 5)
    loss = make_loss("hidden_mse", {"reduce_layers": reduce_layers})
    assert loss(tuple(s), tuple(t), batch_of()).item() == pytest.approx(expected / (2 if reduce_layers == "mean" else 1))


def test_cosine():
    student, teacher = f64([[[1, 0], [1, 1], [9, 9]]]), f64([[[0, 1], [2, 2], [-3, 4]]])
    mask = {"attention_mask": torch.tensor([[1, 1, 0]])}
    assert make_loss("cosine", {})((student,), (teacher,), mask).item() == pytest.approx(0.5)
    s, t = random(3, 4, 5, seed=1), random(3, 4, 5, seed=2)
    gaps = []
    for i, length in enumerate(LENGTHS):
        for a, b in zip(s[i, :length].tolist(), t[i, :length].tolist()):
            gaps.append(1 - dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)))
    assert make_loss("cosine", {})((s,), (t,), batch_of()).item() == pytest.approx(sum(gaps) / len(gaps))


def test_attention_mse_numbers():
    """Two queries, the second key is padding: TinyBERT's code divides by all four scores, "valid" by two."""
    student, teacher = f64([[[[1, -1e4], [2, -1e4]]]]), f64([[[[2, -9997], [2.5, -10007]]]])
    total, counted = squared_error(student, teacher, torch.tensor([[True, True]]), torch.tensor([[True, False]]))
    assert total.item() / student.numel() == pytest.approx(0.3125) and (total / counted).item() == pytest.approx(0.625)
    # The second token is padding as a query too, which the loss leaves out: only 1 against 2 remains.
    mask = {"attention_mask": torch.tensor([[1, 0]])}
    assert make_loss("attention_mse", {})((student,), (teacher,), mask).item() == pytest.approx(1.0)
    assert make_loss("attention_mse", {"reduction": "released"})((student,), (teacher,), mask).item() == pytest.approx(0.25)
    # Scores below zero count like any others.
    student, teacher = f64([[[[-1, 0.5]]]]), f64([[[[0.5, -0.5]]]])
    total, counted = squared_error(student, teacher, torch.tensor([[True]]), torch.tensor([[True, True]]))
    assert (total / counted).item() == pytest.approx(1.625)


@pytest.mark.parametrize("reduction", ["valid", "released"])
def test_attention_mse_by_loops(reduction):
    s, t = random(3, 2, 4, 4, seed=1), random(3, 2, 4, 4, seed=2)
    gaps = [
        (s[i, a, q, k] - t[i, a, q, k]).item() ** 2
        for i, length in enumerate(LENGTHS)
        for a in range(2)
        for q in range(length)
        for k in range(length)
    ]
    s[1, :, 2:], s[1, :, :, 2:] = float("inf"), float("nan")  # padding of the second text
    expected = sum(gaps) / (len(gaps) if reduction == "valid" else 3 * 2 * 4 * 4)
    assert make_loss("attention_mse", {"reduction": reduction})((s,), (t,), batch_of()).item() == pytest.approx(expected)


def test_attention_kl_number():
    """MiniLM's L_AT: one head, two tokens."""
    teacher, student = f64([[[[0, math.log(3)], [0, 0]]]]), f64([[[[0, 0], [0, math.log(3)]]]])
    assert make_loss("attention_kl", {})((student,), (teacher,), full(2)).item() == pytest.approx(0.13732653608351372, rel=1e-9)


def test_attention_kl_by_loops():
    s, t = random(3, 2, 4, 4, seed=1), random(3, 2, 4, 4, seed=2)
    expected = 0.0
    for i, length in enumerate(LENGTHS):
        for a in range(2):
            for q in range(length):
                expected += kl_of_scores(t[i, a, q, :length].tolist(), s[i, a, q, :length].tolist()) / (2 * length) / 3
    assert make_loss("attention_kl", {})((s,), (t,), batch_of()).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["attention_mse", "attention_kl"])
def test_heads_that_differ(name):
    with pytest.raises(PotstillError, match="student has 2 attention heads, the teacher 3"):
        make_loss(name, {})((random(3, 2, 4, 4),), (random(3, 3, 4, 4),), batch_of())


def test_relation_numbers():
    """MiniLM's L_VR; and one relation of MiniLMv2 with widths 4 and 2 in 2 relation heads."""
    values = make_loss("relation", {"heads": 1, "of": "values"})
    found = values((f64([[[0], [1]]]),), (f64([[[1], [0]]]),), full(2))
    assert found.item() == pytest.approx(0.11552928931500243, rel=1e-9)
    loss = make_loss("relation", {"heads": 2})
    loss.build(2, 4, 1, 10)
    found = loss((f64([[[1, 0], [0, 2]]]),), (f64([[[1, 0, 0, 2], [0, 1, 1, 0]]]),), full(2))
    assert found.item() == pytest.approx(0.312646134391204, rel=1e-9)


@pytest.mark.parametrize("at_once", [1, 2**21])
def test_relation_by_loops(at_once, monkeypatch):
    monkeypatch.setattr(importlib.import_module("potstill.losses.relation"), "SCORES_AT_ONCE", at_once)
    s, t, heads = random(3, 4, 4, seed=1), random(3, 4, 6, seed=2), 2
    expected = 0.0
    for i, length in enumerate(LENGTHS):
        for a in range(heads):
            for q in range(length):
                rows = []
                for x, d in ((t[i], 3), (s[i], 2)):
                    part = x[:length, a * d : (a + 1) * d].tolist()
                    rows.append([dot(part[q], part[k]) / math.sqrt(d) for k in range(length)])
                expected += kl_of_scores(*rows) / (heads * length) / 3
    assert make_loss("relation", {"heads": heads, "of": "keys"})((s,), (t,), batch_of()).item() == pytest.approx(expected)


def test_relation_refuses():
    with pytest.raises(PotstillError, match="student's width 312 does not divide into 48.*1, 2, 3, 4, 6, 8, 12, 24"):
        make_loss("relation", {"heads": 48}).build(312, 768, 1, 10)
    for options in ({"heads": 0}, {"heads": 2, "of": "query"}, {}):
        with pytest.raises(PotstillError):
            make_loss("relation", options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 0.2464466094067262), ({"reduction": "sum"}, 0.9857864376269048), ({"normalize": False}, 3.5)],
)
def test_patient_mse_numbers(options, expected):
    """One text, two pairs of layers: the released mean, the paper's sum, and without normalising."""
    student, teacher = (f64([[3, 4]]), f64([[1, 0]])), (f64([[0, 2]]), f64([[1, 1]]))
    assert make_loss("patient_mse", options)(student, teacher, {}).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_patient_mse_by_loops(reduction):
    s, t = random(2, 3, 5, seed=1), random(2, 3, 5, seed=2)
    expected = 0.0
    for layer in range(2):
        for a, b in zip(s[layer].tolist(), t[layer].tolist()):
            long_a, long_b = math.sqrt(dot(a, a)), math.sqrt(dot(b, b))
            expected += sum((x / long_a - y / long_b) ** 2 for x, y in zip(a, b))
    expected /= 2 * 3 * 5 if reduction == "mean" else 1
    assert make_loss("patient_mse", {"reduction": reduction})(tuple(s), tuple(t), {}).item() == pytest.approx(expected)


def test_patient_mse_of_a_zero_vector():
    student = torch.zeros(1, 3, requires_grad=True)
    loss = make_loss("patient_mse", {})((student,), (torch.ones(1, 3),), {})
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()


def test_unknown_words_name_the_option():
    for name, options, option in (
        ("hidden_mse", {"reduce_layers": "all"}, "reduce_layers"),  # of every loss of layers
        ("attention_mse", {"reduction": "mean"}, "reduction"),  # another loss's word
        ("patient_mse", {"reduction": "all"}, "reduction"),  # no word of any
    ):
        with pytest.raises(PotstillError, match=f"{option} '.*' is not among"):
            make_loss(name, options)
