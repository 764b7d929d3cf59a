"""Losses of logits: hand-checked numbers, and plain loops over texts, tokens and classes."""

from __future__ import annotations

import math

import pytest
import torch

from potstill.errors import PotstillError
from potstill.losses.base import make_loss

# Two texts, three classes; the first pair of rows differs by a constant only.
STUDENT, TEACHER = [[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]], [[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]]
# One text of two real tokens and one of padding; the second token's label is 2.
STUDENT_TOKENS = [[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [5.0, 5.0, 5.0]]]
TEACHER_TOKENS = [[[2.0, 0.0, 0.0], [0.0, 1.0, 2.0], [0.0, 9.0, 0.0]]]
TOKENS = {"attention_mask": torch.tensor([[1, 1, 0]]), "labels": torch.tensor([[-100, 2, -100]])}


def f64(values, grad=False):
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def value(name, options, student=STUDENT, teacher=TEACHER, **batch):
    return make_loss(name, options)(f64(student), f64(teacher), batch).item()


def softmax(row):
    total = sum(math.exp(z) for z in row)
    return [math.exp(z) / total for z in row]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 2.0}, 0.041890474325969596),
        ({"temperature": 2.0, "scale_by_t2": False}, 0.010472618581492399),
        ({"temperature": 2.0, "reduction": "element"}, 0.013963491441989865),  # PKD's code
        ({"temperature": 100.0}, 0.05533796943271414),  # near its limit for T → ∞, .0555556
        ({"temperature": 1.1, "scale_by_t2": False}, 0.02434743982337174),  # LRC-BERT
        ({"temperature": 1.1}, 0.029460402186279804),
    ],
)
def test_soft_target_numbers(options, expected):
    assert value("soft_target", options) == pytest.approx(expected, rel=1e-9)


def test_soft_target_gradient():
    """(q_s - q_t)/T a text; and "element" at T = 1 has the gradient of TinyBERT's soft cross-entropy."""
    student = f64(STUDENT, grad=True)
    (2 * make_loss("soft_target", {"temperature": 2.0, "scale_by_t2": False})(student, f64(TEACHER), {})).backward()
    expected = [0.04387244791767472, -0.027308814589023983, -0.016563633328650684]
    assert student.grad[1].tolist() == pytest.approx(expected, rel=1e-9)

    student = f64(STUDENT, grad=True)
    element = make_loss("soft_target", {"reduction": "element"})(student, f64(TEACHER), {})
    target = f64(TEACHER).softmax(-1)
    cross_entropy = -(target * student.log_softmax(-1)).mean()
    assert cross_entropy.item() == pytest.approx(0.23507839581415033, rel=1e-9)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (element, cross_entropy)]
    torch.testing.assert_close(*gradients)


def test_soft_target_of_a_schedule():
    loss = make_loss("soft_target", {"temperature": 10.0})
    loss.temperature = 2.0
    assert loss(f64(STUDENT), f64(TEACHER), {}).item() == pytest.approx(0.041890474325969596)


def test_soft_target_of_tokens():
    found = value("soft_target", {"temperature": 2.0}, STUDENT_TOKENS, TEACHER_TOKENS, **TOKENS)
    assert found == pytest.approx(0.10387147006298296, rel=1e-9)  # with the padding it would be 1.3743538
    found = value("soft_target", {"temperature": 2.0, "tokens": "labelled"}, STUDENT_TOKENS, TEACHER_TOKENS, **TOKENS)
    assert found == pytest.approx(4 * 0.020945237162984798, rel=1e-9)


@pytest.mark.parametrize("reduction", ["batchmean", "element"])
def test_soft_target_by_loops(reduction):
    torch.manual_seed(0)
    s, t = torch.randn(3, 5).double(), torch.randn(3, 5).double()
    divergences = [kl(softmax([z / 3 for z in b]), softmax([z / 3 for z in a])) for a, b in zip(s.tolist(), t.tolist())]
    expected = 9 * sum(divergences) / (3 if reduction == "batchmean" else 15)
    assert value("soft_target", {"temperature": 3.0, "reduction": reduction}, s.tolist(), t.tolist()) == pytest.approx(expected)


def test_soft_target_of_several_labels_by_loops():
    expected = 0.0
    for a, b in zip(STUDENT, TEACHER):
        for z_s, z_t in zip(a, b):
            p, q = 1 / (1 + math.exp(-z_t / 2)), 1 / (1 + math.exp(-z_s / 2))
            expected += 4 * kl([p, 1 - p], [q, 1 - q]) / 2
    assert value("soft_target", {"multilabel": True, "temperature": 2.0}) == pytest.approx(expected)
    # Saturated logits keep the value finite.
    assert math.isfinite(value("soft_target", {"multilabel": True}, [[900.0]], [[-900.0]]))


@pytest.mark.parametrize("options", [{}, {"temperature": 4.0}, {"temperature": 1.1, "scale_by_t2": False}, {"reduction": "element"}])
def test_soft_target_of_a_score_is_the_squared_difference(options):
    assert value("soft_target", options, [[1.0], [2.5]], [[3.0], [2.0]]) == pytest.approx((2.0**2 + 0.5**2) / 2), "T has no part in it"


def test_soft_target_refuses():
    for options in ({"temperature": 0}, {"reduction": "sum"}, {"tokens": "all"}):
        with pytest.raises(PotstillError):
            make_loss("soft_target", options)
    with pytest.raises(PotstillError, match="multilabel: true"):
        value("soft_target", {}, labels=f64([[1, 0, 1], [0, 0, 1]]))
    with pytest.raises(PotstillError, match="no labels"):
        value("soft_target", {"tokens": "labelled"}, STUDENT_TOKENS, TEACHER_TOKENS)


@pytest.mark.parametrize(
    ("options", "scale", "expected"),
    [({"reduction": "sum"}, 1.0, 2.5), ({}, 1.0, 0.8333333333333334), ({"reduction": "sum"}, 1 - (3 - 1) / 5, 0.9)],
)
def test_logit_mse_numbers(options, scale, expected):
    """Tang et al.; and Annealing-KD's phase 1 at T = 3 of 5."""
    loss = make_loss("logit_mse", options)
    loss.teacher_scale = scale
    assert loss(f64(STUDENT), f64(TEACHER), {}).item() == pytest.approx(expected)


def test_logit_mse_of_tokens_by_loops():
    expected = sum((a - b) ** 2 for s, t in zip(STUDENT_TOKENS[0][:2], TEACHER_TOKENS[0][:2]) for a, b in zip(s, t)) / 2
    assert value("logit_mse", {"reduction": "sum"}, STUDENT_TOKENS, TEACHER_TOKENS, **TOKENS) == pytest.approx(expected)


def test_hard_label_of_classes():
    assert value("hard_label", {}, labels=torch.tensor([0, 1])) == pytest.approx(0.36064536674416836, rel=1e-9)
    expected = -sum(math.log(softmax(row)[y]) for row, y in zip(STUDENT, [0, 1])) / 2
    assert value("hard_label", {}, labels=torch.tensor([0, 1])) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(3, 1), (3,)])
def test_hard_label_of_scores(shape):
    student, labels = torch.tensor([1.0, 2.0, 4.0]).view(shape), torch.tensor([0.5, 2.0, 3.0])
    assert make_loss("hard_label", {})(student, None, {"labels": labels}).item() == pytest.approx((0.25 + 0 + 1) / 3)


def test_hard_label_of_several_labels_by_loops():
    labels = [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    expected = 0.0
    for row, wanted in zip(STUDENT, labels):
        for z, y in zip(row, wanted):
            p = 1 / (1 + math.exp(-z))
            expected -= (y * math.log(p) + (1 - y) * math.log(1 - p)) / 6
    assert value("hard_label", {}, labels=torch.tensor(labels)) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["hard_label", "mlm"])
def test_labelled_tokens(name):
    assert value(name, {}, STUDENT_TOKENS, TEACHER_TOKENS, **TOKENS) == pytest.approx(0.5514447139320511, rel=1e-9)
    labels = [[0, 2, -100]]
    expected = -sum(math.log(softmax(STUDENT_TOKENS[0][i])[y]) for i, y in enumerate(labels[0][:2])) / 2
    assert value(name, {}, STUDENT_TOKENS, TEACHER_TOKENS, labels=torch.tensor(labels)) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["hard_label", "mlm", "soft_target"])
def test_a_batch_without_a_labelled_token_gives_0(name):
    student = f64(STUDENT_TOKENS, grad=True)
    options = {"tokens": "labelled"} if name == "soft_target" else {}
    loss = make_loss(name, options)(student, f64(TEACHER_TOKENS), {"labels": torch.full((1, 3), -100)})
    loss.backward()
    assert loss.item() == 0 and (student.grad == 0).all()


def test_labels_that_are_missing():
    with pytest.raises(PotstillError, match="no labels"):
        value("hard_label", {})
    with pytest.raises(PotstillError, match="on masked text"):
        value("mlm", {}, STUDENT_TOKENS, TEACHER_TOKENS, labels=torch.tensor([1]))


def test_totals_of_three_methods():
    """The published sums, term by term: Hinton's, LRC-BERT's second stage and DistilBERT's."""
    labels = torch.tensor([0, 1])
    hard, soft = value("hard_label", {}, labels=labels), value("soft_target", {"temperature": 2.0})
    assert 0.7 * soft + 0.3 * hard == pytest.approx(0.13751694205142923, rel=1e-9)
    soft = value("soft_target", {"temperature": 1.1, "scale_by_t2": False})
    angles = make_loss("cos_nce", {"mode": "cls", "negatives": "train", "count": 2})
    batch = {"attention_mask": torch.ones(1, 1), "rows": torch.tensor([0]), "negative_rows": torch.tensor([1, 2])}
    batch["negatives"] = (f64([[0, 1], [-1, 0]]),)
    contrast = angles((f64([[1, 0]]),), (f64([[0.8, 0.6]]),), batch).item()
    assert contrast + soft + 3 * hard == pytest.approx(1.656283540055877, rel=1e-9)
    kept = value("soft_target", {"temperature": 2.0}, STUDENT_TOKENS, TEACHER_TOKENS, **TOKENS)
    masked = value("mlm", {}, STUDENT_TOKENS, TEACHER_TOKENS, **TOKENS)
    states = (f64([[[1, 0], [1, 1], [9, 9]]]),), (f64([[[0, 1], [2, 2], [-3, 4]]]),)
    angle = make_loss("cosine", {})(*states, TOKENS).item()
    assert 5 * kept + 2 * masked + angle == pytest.approx(2.122246778179017, rel=1e-9)
