"""cos_nce and crd: hand-checked numbers, plain loops, and what their negatives may be."""

from __future__ import annotations

import math

import pytest
import torch

from potstill.errors import PotstillError
from potstill.losses.base import make_loss
from potstill.losses.crd import info_nce, log_partition, nce

LENGTHS = [4, 2, 3, 1]
ROWS, LABELS = [7, 0, 3, 5], [0, 1, 2, 0]


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def mask_of(lengths):
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def batch_of():
    return {"attention_mask": mask_of(LENGTHS), "rows": torch.tensor(ROWS), "labels": torch.tensor(LABELS)}


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def cosine(a, b):
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def angle(mode, a, b):
    """g's cosine of two texts given as lists of their real tokens, or as one vector."""
    if mode in ("cls", "mean"):
        return cosine(a, b)
    if mode == "token":
        return sum(cosine(x, y) for x, y in zip(a, b)) / min(len(a), len(b))
    length = max(len(a), len(b))
    flat = [[x for token in text for x in token] + [0.0] * (length - len(text)) * len(text[0]) for text in (a, b)]
    return cosine(*flat)


def test_cos_nce_number():
    """One vector against two negatives; and below the value at the teacher there is a better direction."""
    loss = make_loss("cos_nce", {"mode": "cls", "negatives": "train", "count": 2})
    batch = {"attention_mask": torch.ones(1, 1), "rows": torch.tensor([0]), "negative_rows": torch.tensor([1, 2])}
    batch["negatives"] = (f64([[0, 1], [-1, 0]]),)
    at = lambda vector: loss((f64([vector]),), (f64([[0.8, 0.6]]),), batch).item()  # noqa: E731
    assert at([1.0, 0.0]) == pytest.approx(0.55)
    assert at([0.8, 0.6]) == pytest.approx(0.45)
    assert at([0.9125093245149513, 0.4090559040929091]) == pytest.approx(0.4109751417929295)


@pytest.mark.parametrize(
    ("mode", "expected"), [("flatten", 0.6315716916018025), ("token", 0.625), ("cls", 0.5), ("mean", 1.6582482904638631)]
)
def test_cos_nce_modes(mode, expected):
    """LRC-BERT's example: two tokens and padding, projected from width 1 to 3, one negative."""
    student = f64([[[2, 0, 2], [-1, 0, -1], [7, 0, 7]]])
    teacher, negative = f64([[[1, 0, 1], [-1, 1, 0], [5, 5, 5]]]), f64([[[0, 1, 0], [1, 0, 1], [4, 4, 4]]])
    reduce = {"cls": lambda x: x[:, 0], "mean": lambda x: x[:, :2].mean(1)}.get(mode, lambda x: x)
    mask = torch.tensor([[1, 1, 0]])
    batch = {"attention_mask": mask, "rows": torch.tensor([4]), "negative_rows": torch.tensor([2])}
    batch |= {"negatives": (reduce(negative),), "negatives_mask": mask}
    loss = make_loss("cos_nce", {"mode": mode, "negatives": "train", "count": 1})
    assert loss((reduce(student),), (reduce(teacher),), batch).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mode", ["flatten", "token", "cls", "mean"])
@pytest.mark.parametrize("negatives", ["batch", "train"])
@pytest.mark.parametrize("other_labels", [False, True])
def test_cos_nce_by_loops(mode, negatives, other_labels):
    whole = mode in ("cls", "mean")
    layers, batch = 2, batch_of()
    shape = (4, 5) if whole else (4, 4, 5)
    s, t = (tuple(random(layers, *shape, seed=seed)) for seed in (1, 2))
    texts, lengths, rows, labels = t, LENGTHS, ROWS, LABELS
    options = {"mode": mode, "negatives": negatives, "other_labels": other_labels}
    if negatives == "train":  # of another padded length; one of them is a row of the batch
        options["count"] = 3
        lengths, rows, labels = [2, 5, 3], [1, 3, 8], [0, 2, 2]
        texts = tuple(random(layers, 3, *(() if whole else (5,)), 5, seed=3))
        batch |= {"negatives": texts, "negative_rows": torch.tensor(rows), "negative_labels": torch.tensor(labels)}
        if not whole:
            batch["negatives_mask"] = mask_of(lengths)
    expected = 0.0
    for layer in range(layers):
        cut = lambda text, length: text.tolist() if whole else text[:length].tolist()  # noqa: E731
        for i in range(4):
            student, teacher = cut(s[layer][i], LENGTHS[i]), cut(t[layer][i], LENGTHS[i])
            found = [
                angle(mode, student, cut(texts[layer][k], lengths[k]))
                for k in range(len(rows))
                if rows[k] != ROWS[i] and not (other_labels and labels[k] == LABELS[i])
            ]
            positive = angle(mode, student, teacher)
            # The paper's form, term by term, not the closed one.
            expected += sum(2 - ((1 - n) - (1 - positive)) for n in found) / (2 * len(found)) / 4 + (1 - positive) / 4
    assert make_loss("cos_nce", options)(s, t, batch).item() == pytest.approx(expected)


def test_cos_nce_without_a_negative():
    """A batch of one text, or of one class: the negatives' mean is taken as 0."""
    s, t = random(1, 5, seed=1), random(1, 5, seed=2)
    batch = {"attention_mask": torch.ones(1, 1), "rows": torch.tensor([3]), "labels": torch.tensor([1])}
    expected = 2 - 1.5 * cosine(s[0].tolist(), t[0].tolist())
    for options in ({}, {"other_labels": True}):
        assert make_loss("cos_nce", {"mode": "cls", **options})((s,), (t,), batch).item() == pytest.approx(expected)


def test_pool_of_negatives():
    loss = make_loss("cos_nce", {"negatives": "train", "count": 15})
    assert (loss.pool, loss.negatives) == (15, "train")
    others = [make_loss(name, options) for name, options in (("cos_nce", {}), ("crd", {}), ("info_nce", {}), ("embedding_mse", {}))]
    assert [(one.pool, one.negatives) for one in others] == [(0, "batch"), (0, "memory"), (0, "batch"), (0, None)]
    loss.build(8, 8, 1, rows=16)
    with pytest.raises(PotstillError, match="15 negatives are more than the pool of 14"):
        loss.build(8, 8, 1, rows=15)
    with pytest.raises(PotstillError, match="100 negatives are more than the pool of 99"):
        make_loss("crd", {}).build(8, 8, 1, rows=100)


@pytest.mark.parametrize(
    "options",
    [
        {"negatives": "train"},  # how many?
        {"count": 3},  # the batch has as many as it has
        {"mode": "max"},  # no such mode
        {"negatives": "train", "count": 0},  # none at all
    ],
)
def test_cos_nce_refuses(options):
    with pytest.raises(PotstillError):
        make_loss("cos_nce", options)


@pytest.mark.parametrize("name", ["cos_nce", "crd"])
def test_other_labels_needs_classes(name):
    loss = make_loss(name, {"other_labels": True, **({"mode": "mean"} if name == "cos_nce" else {"count": 2})})
    loss.build(5, 5, 1, 8)
    states = (torch.randn(4, 5),)
    for labels in (None, torch.rand(4), torch.ones(4, 3, dtype=torch.int64)):
        batch = {**batch_of(), "labels": labels}
        with pytest.raises(PotstillError, match="needs one class a text"):
            loss(states, states, batch)


@pytest.mark.parametrize(("tau", "expected"), [(0.07, 0.05585420205500118), (0.5, 0.6271230572779201)])
def test_info_nce_number(tau, expected):
    """z_s = [1, 0], z_t = [.8, .6], negatives [0, 1] and [.6, -.8]; a third, masked one changes nothing."""
    negative = f64([[0.0, 0.6, -math.inf]])
    assert info_nce(f64([0.8]), negative, tau).item() == pytest.approx(expected, rel=1e-9)


def test_nce_number():
    """The same vectors in a memory of 10 texts at τ = .5."""
    positive, negative = f64([0.8]) / 0.5, f64([[0.0, 0.6]]) / 0.5
    log_z = log_partition(positive, negative, 10)
    assert log_z.exp().item() == pytest.approx(30.910497823772207)
    assert nce(positive - log_z, negative - log_z, 10).item() == pytest.approx(1.3899071337816276, rel=1e-9)


def crd(rows=8, width=(4, 6), layers=2, **options):
    torch.manual_seed(0)
    loss = make_loss("crd", {"count": 3, "dim": 5, **options})
    loss.build(*width, layers, rows)
    return loss.double()


def sides(layers=2):
    return tuple(random(layers, 4, 4, seed=1)), tuple(random(layers, 4, 6, seed=2))


def vectors(loss, student, teacher):
    """z of both sides, by loops over the layers laid side by side."""
    found = []
    for states, weight in ((student, loss.student_map.weight), (teacher, loss.teacher_map.weight)):
        rows = []
        for i in range(4):
            h = [x for layer in states for x in layer[i].tolist()]
            z = [dot(w, h) for w in weight.tolist()]
            rows.append([x / math.sqrt(dot(z, z)) for x in z])
        found.append(rows)
    return found


def test_info_nce_in_the_batch_by_loops():
    for other_labels in (False, True):
        loss = crd(negatives="batch", other_labels=other_labels)
        s, t = vectors(loss, *sides())
        expected = 0.0
        for i in range(4):
            others = [k for k in range(4) if k != i and not (other_labels and LABELS[k] == LABELS[i])]
            scores = [math.exp(dot(s[i], t[k]) / 0.07) for k in [i, *others]]
            expected -= math.log(scores[0] / sum(scores)) / 4
        assert loss(*sides(), batch_of()).item() == pytest.approx(expected)


def test_info_nce_from_the_memory_by_loops():
    loss = crd()
    memory, (s, t) = loss.memory[0].tolist(), vectors(loss, *sides())
    torch.manual_seed(5)
    drawn = loss.draw(torch.tensor(ROWS), None).tolist()
    expected = 0.0
    for i in range(4):
        scores = [math.exp(dot(s[i], z) / 0.07) for z in [t[i], *(memory[k] for k in drawn[i])]]
        expected -= math.log(scores[0] / sum(scores)) / 4
    torch.manual_seed(5)
    assert loss(*sides(), batch_of()).item() == pytest.approx(expected)


def test_nce_from_the_memory_by_loops():
    """Two training steps: Z is of the first and stays; the memory takes the first batch in after its scores."""
    loss, n, count, tau, eps = crd(form="nce", temperature=0.5), 8, 3, 0.5, 1e-7
    sums, memories = [None, None], [m.tolist() for m in loss.memory]  # of the teacher, of the student
    for step in range(2):
        z = vectors(loss, *sides())
        torch.manual_seed(step)
        drawn = loss.draw(torch.tensor(ROWS), None).tolist()
        expected = 0.0
        for side in range(2):
            scores = [[math.exp(dot(z[side][i], memories[side][k]) / tau) for k in [ROWS[i], *drawn[i]]] for i in range(4)]
            if sums[side] is None:
                sums[side] = sum(map(sum, scores)) / (4 * (count + 1)) * n
            for own, *others in scores:
                own, noise = own / sums[side], count / n
                value = math.log(own / (own + noise + eps))
                value += sum(math.log(noise / (p / sums[side] + noise + eps)) for p in others)
                expected -= value / 4 / 2
        torch.manual_seed(step)
        assert loss(*sides(), batch_of()).item() == pytest.approx(expected)
        for side, other in ((0, 1), (1, 0)):  # the teacher's memory keeps the teacher's vectors
            for i, row in enumerate(ROWS):
                mixed = [0.5 * a + 0.5 * b for a, b in zip(memories[side][row], z[other][i])]
                memories[side][row] = [x / math.sqrt(dot(mixed, mixed)) for x in mixed]
            torch.testing.assert_close(loss.memory[side], f64(memories[side]))


def test_memory_changes_in_training_alone_and_is_in_the_state():
    loss = crd(form="nce").eval()
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    assert {"memory", "log_z", "student_map.weight", "teacher_map.weight"} <= set(before)
    loss(*sides(), batch_of())
    for name, value in loss.state_dict().items():
        torch.testing.assert_close(value, before[name], equal_nan=True)
    loss.train()(*sides(), batch_of())
    saved = loss.state_dict()
    changed = (saved["memory"] != before["memory"]).any(-1).any(0)
    assert sorted(changed.nonzero().flatten().tolist()) == sorted(ROWS) and saved["log_z"].isfinite().all()
    again = crd(form="nce")
    again.load_state_dict(saved)
    found = []
    for each in (loss, again):
        torch.manual_seed(2)
        found.append(each(*sides(), batch_of()).item())
    assert found[0] == found[1]


def test_drawn_rows():
    """Never the text's own row; with other_labels never a row known to be of its class; every other row comes up."""
    rows, labels = torch.tensor(ROWS), torch.tensor(LABELS)
    drawn = crd(count=7).draw(rows.repeat(200), None).view(200, 4, 7)
    for i, row in enumerate(ROWS):
        assert set(drawn[:, i].flatten().tolist()) == set(range(8)) - {row}
    loss = crd(count=7, other_labels=True)
    loss.draw(torch.tensor([1, 2, 4, 6]), torch.tensor([0, 0, 1, 2]))
    drawn = loss.draw(rows.repeat(200), labels.repeat(200)).view(200, 4, 7)
    classes = [1, 0, 0, 2, 1, 0, 2, 0]
    for i, label in enumerate(LABELS):
        assert set(drawn[:, i].flatten().tolist()) == {row for row in range(8) if classes[row] != label}


def test_crd_of_one_class():
    loss = crd(rows=4, other_labels=True)
    with pytest.raises(PotstillError, match="of one class"):
        loss.draw(torch.arange(4), torch.ones(4, dtype=torch.int64))


@pytest.mark.parametrize(
    "options",
    [
        {"form": "nce", "negatives": "batch"},  # nce is defined over the memory
        {"form": "x"},  # no such form
        {"tokens": "max"},  # no such states
        {"temperature": 0},  # divides by 0
        {"momentum": 1.0},  # the memory would never learn
        {"count": 0},  # no negative
    ],
)
def test_crd_refuses(options):
    with pytest.raises(PotstillError):
        make_loss("crd", options)
