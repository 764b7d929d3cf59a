"""Every loss: the contract that all keep; and the losses of pooled vectors against plain loops."""

from __future__ import annotations

import ast
import math

import pytest
import torch

from potstill.errors import PotstillError, PotstillErrors
from potstill.losses.base import make_loss
from potstill.models.output import LAYERED
from potstill.registry import PACKAGE, names

ROWS, HEADS, CLASSES, LENGTH, LAYERS = 9, 2, 3, 4, 2  # texts of the training set, heads, classes, tokens, pairs of layers
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]])
NEEDED = {"relation": {"heads": HEADS}, "crd": {"count": 5}}  # options without a default, and what ROWS cannot serve
TOKEN_LOGITS = "token_logits"  # logits of shape (b, l, classes)

# (loss, options, the field where it is not simply what the loss reads)
CASES = [(name, NEEDED.get(name, {}), TOKEN_LOGITS if name == "mlm" else None) for name in names("losses")] + [
    ("soft_target", {"temperature": 2.0, "reduction": "element"}, None),
    ("soft_target", {"multilabel": True}, None),
    ("soft_target", {}, TOKEN_LOGITS),
    ("soft_target", {"tokens": "labelled"}, TOKEN_LOGITS),
    ("hard_label", {}, TOKEN_LOGITS),
    ("logit_mse", {}, TOKEN_LOGITS),
    ("logit_mse", {"reduction": "sum"}, None),
    ("soft_logit", {}, TOKEN_LOGITS),
    ("soft_logit", {"reduction": "mean"}, None),
    *[("representation", {"distance": distance}, None) for distance in ("keras_kl", "mse", "cosine")],
    ("relation", {"heads": HEADS, "of": "keys"}, None),
    ("relation", {"heads": HEADS, "of": "values", "reduce_layers": "mean"}, None),
    ("patient_mse", {"normalize": False, "reduction": "sum"}, None),
    *[("cos_nce", {"mode": mode}, None) for mode in ("token", "cls", "mean")],
    *[("cos_nce", {"mode": mode, "negatives": "train", "count": 5}, None) for mode in ("flatten", "token", "cls")],
    ("cos_nce", {"other_labels": True}, None),
    ("crd", {"form": "nce", "count": 5, "tokens": "cls"}, None),
    ("crd", {"negatives": "batch", "other_labels": True}, None),
    ("crd", {"count": 5, "other_labels": True}, None),
]
LEAST_ELSEWHERE = {"cos_nce", "crd", "hard_label", "info_nce", "mlm", "soft_logit"}  # not 0 where the student equals the teacher


def values_of(field, width, seed, padded=0, texts=4):
    """What a model gives for that field, fp64; `padded` more columns of tokens hold garbage, and so does what MASK hides."""
    made, random = [], torch.Generator().manual_seed(seed)
    shape = {
        "logits": (texts, CLASSES),
        TOKEN_LOGITS: (texts, LENGTH, CLASSES),
        "attention_scores": (texts, HEADS, LENGTH, LENGTH),
        **dict.fromkeys(("hidden_states", "queries", "keys", "values"), (texts, LENGTH, width)),
    }.get(field, (texts, width))
    for _ in range(LAYERS):
        values = torch.randn(shape, dtype=torch.float64, generator=random)
        for axis in [axis for axis, size in enumerate(shape) if size == LENGTH and axis > 0]:
            more = list(values.shape)
            more[axis] = padded
            values = torch.cat([values, 50 * torch.randn(more, dtype=torch.float64)], dim=axis)
        made.append(values)
    return tuple(made) if field in LAYERED else made[0]


def case(name, options, field, padded=0):
    """A built loss, the student's and the teacher's tensors, and a batch of 4 texts with 4, 2, 3 and 1 tokens."""
    torch.manual_seed(0)
    loss = make_loss(name, options)
    student_width, teacher_width = (6, 6) if loss.same_width else (2, 8)
    if loss.reads == "logits":
        student_width = teacher_width = CLASSES
    loss.build(student_width, teacher_width, LAYERS, ROWS)
    field = field or loss.reads
    batch = {
        "attention_mask": torch.nn.functional.pad(MASK, (0, padded)),
        "rows": torch.tensor([7, 0, 3, 5]),
        "labels": torch.tensor([0, 1, 2, 0]),
    }
    if field == TOKEN_LOGITS:
        batch["labels"] = torch.full((4, LENGTH + padded), -100)
        batch["labels"][:2, 1] = torch.tensor([2, 0])
    if getattr(loss, "multilabel", False):
        batch["labels"] = torch.eye(4, CLASSES)
    if loss.reads_pairs:
        batch["views"] = torch.tensor(2)
    if loss.pool:
        batch["negatives"] = values_of(field, teacher_width, seed=3, padded=padded, texts=loss.pool)
        batch["negatives_mask"] = (torch.arange(LENGTH + padded) < torch.tensor([[3], [4], [1], [2], [4]])).long()
        batch["negative_rows"] = torch.tensor([3, 1, 8, 6, 7])
    student, teacher = (values_of(field, width, seed, padded) for width, seed in ((student_width, 1), (teacher_width, 2)))
    return loss.double(), student, teacher if loss.needs_teacher else None, batch


def tensors(values):
    return values if isinstance(values, tuple) else (values,)


@pytest.mark.parametrize(("name", "options", "field"), CASES)
def test_contract(name, options, field):
    """A finite scalar with a gradient to the student, which never asks for one to the teacher; 0 where both agree."""
    loss, student, teacher, batch = case(name, options, field)
    for values in tensors(student):
        values.requires_grad_()
    value = loss(student, teacher, batch)
    assert value.shape == () and torch.isfinite(value) and value > 0
    value.backward()
    for values in tensors(student):
        assert values.grad is not None and values.grad.isfinite().all() and values.grad.abs().sum() > 0
    assert teacher is None or all(not values.requires_grad and values.grad is None for values in tensors(teacher))
    if name not in LEAST_ELSEWHERE:
        student = values_of(field or loss.reads, 8 if not loss.same_width else 6, seed=2)
        assert loss(student, teacher, batch).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("name", "options", "field"), CASES)
def test_padding_changes_nothing(name, options, field):
    """More padding with anything in it, and other garbage at what is padding already: the same value."""
    found = []
    for padded in (0, 3):
        loss, student, teacher, batch = case(name, options, field, padded)
        for values in tensors(student) + (tensors(teacher) if teacher is not None else ()):
            if values.dim() == 3:  # (b, l, ...)
                values[batch["attention_mask"] == 0] = 100.0 * (padded + 1)
            if values.dim() == 4:  # (b, heads, l, l)
                values.transpose(1, 2)[batch["attention_mask"] == 0] = 100.0 * (padded + 1)
                values.permute(0, 3, 1, 2)[batch["attention_mask"] == 0] = -100.0 * (padded + 1)
        torch.manual_seed(1)  # of a memory's draws
        found.append(loss(student, teacher, batch).item())
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def pair(width_s=3, width_t=3, rows=4):
    torch.manual_seed(0)
    return torch.randn(rows, width_s, dtype=torch.float64, requires_grad=True), torch.randn(rows, width_t, dtype=torch.float64)


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
    assert make_loss("similarity_kl", {"temperature": tau})(s, t, {"rows": torch.arange(len(s))}).item() == pytest.approx(expected)


def test_no_loss_reads_another_loss_file():
    """What two losses share stands in a file that is no loss, so that each can be read, changed and deleted alone."""
    losses = names("losses")
    assert "_labels" not in losses and "base" not in losses and "crd" in losses
    for name in losses:
        tree = ast.parse((PACKAGE / "losses" / f"{name}.py").read_text(encoding="utf-8"))
        read = {node.module.rpartition(".")[2] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        assert not read & losses.keys(), name


def test_options_are_checked_against_the_constructor():
    with pytest.raises(PotstillErrors, match="did you mean 'temperature'"):
        make_loss("similarity_kl", {"temperatur": 1})
    with pytest.raises(PotstillError, match="must be above 0"):
        make_loss("similarity_kl", {"temperature": 0})
    with pytest.raises(PotstillError, match="did you mean 'embedding_mse'"):
        make_loss("embeding_mse", {})
